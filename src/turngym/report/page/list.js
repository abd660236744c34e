// Filters, search, and a list that keeps only the visible rows in the page.

const ROW = 48;
const SORTS = {
  order: ["as played", (a, b) => a.index - b.index],
  telling: ["most telling first", (a, b) => b.telling - a.telling],
  worst: ["lowest outcome first", (a, b) => (a.outcome ?? 9e9) - (b.outcome ?? 9e9)],
  best: ["highest outcome first", (a, b) => (b.outcome ?? -9e9) - (a.outcome ?? -9e9)],
  long: ["longest first", (a, b) => b.turns - a.turns || b.tokens - a.tokens],
  quality: ["lowest quality first", (a, b) => a.quality - b.quality],
};

const list = { cards: [], shown: [], selected: null, signals: new Set(), hits: null, searched: "", round: 0, open: () => {} };

function showFilters(head, cards) {
  const options = (values) => values.map((value) => make("option", { value }, value));
  const every = (name) => [...new Set(cards.map((card) => card[name]))].sort();
  const select = (id, label, values) => make("select", { id, "aria-label": label }, make("option", { value: "" }, label), values);
  const range = (id, label, step) => make("span", { class: "range" }, label,
    make("input", { id: `${id}-min`, type: "number", step, placeholder: "from", "aria-label": `${label} from` }),
    make("input", { id: `${id}-max`, type: "number", step, placeholder: "to", "aria-label": `${label} to` }));
  const stages = [...new Set(head.shelves.map((shelf) => (shelf.kind === "training" ? "training" : shelf.label)))];
  const counts = {};
  for (const card of cards) for (const kind of card.signals) counts[kind] = (counts[kind] ?? 0) + 1;
  const chips = Object.entries(head.taxonomy).map(([category, kinds]) => {
    const found = kinds.filter((kind) => counts[kind]);
    return found.length > 0 && make("div", {}, make("h4", {}, category), make("span", {}, found.map((kind) => chipOf(kind, counts[kind]))));
  }).filter(Boolean);
  const form = byId("filters");
  form.replaceChildren(
    make("input", { id: "search", class: "wide", type: "search", placeholder: "Search texts, tasks, episodes  ( / )", "aria-label": "Search" }),
    head.runs.length > 1 ? select("run", "every run", head.runs.map((run, number) => make("option", { value: number }, run.name))) : "",
    select("stage", "training and evaluations", options(stages)),
    select("status", "every ending", options(every("status"))),
    select("success", "solved or not", [make("option", { value: "true" }, "solved"), make("option", { value: "false" }, "not solved"), make("option", { value: "null" }, "not counted")]),
    make("select", { id: "sort", "aria-label": "Order" }, Object.entries(SORTS).map(([value, [label]]) => make("option", { value }, label))),
    range("outcome", "outcome", "any"), range("turns", "turns", 1), range("step", "step", 1), range("quality", "quality", 1),
    make("details", { class: "wide", id: "signals" }, make("summary", {}, "Signals"), make("div", { class: "chips" }, chips.length ? chips : "nothing stood out")),
  );
  form.onsubmit = (event) => event.preventDefault();
  form.oninput = (event) => (event.target.id === "search" ? search() : refilter());
}

function chipOf(kind, count) {
  const toggle = (event) => {
    const pressed = !list.signals.has(kind);
    pressed ? list.signals.add(kind) : list.signals.delete(kind);
    event.currentTarget.setAttribute("aria-pressed", pressed);
    refilter();
  };
  return make("button", { type: "button", class: "chip", "data-kind": kind, "aria-pressed": list.signals.has(kind), onclick: toggle }, `${kind.replaceAll("_", " ")} ${count}`);
}

const valueOf = (id) => byId(id)?.value ?? "";

function within(value, id) {
  const low = valueOf(`${id}-min`), high = valueOf(`${id}-max`);
  if (low === "" && high === "") return true;
  return value !== null && (low === "" || value >= Number(low)) && (high === "" || value <= Number(high));
}

function matches(card) {
  const run = valueOf("run"), stage = valueOf("stage"), status = valueOf("status"), success = valueOf("success");
  return (
    (run === "" || card.run === Number(run)) &&
    (stage === "" || (stage === "training" ? card.kind === "training" : card.label === stage)) &&
    (status === "" || card.status === status) &&
    (success === "" || String(card.success) === success) &&
    within(card.outcome, "outcome") && within(card.turns, "turns") && within(card.step, "step") && within(card.quality, "quality") &&
    (!list.signals.size || card.signals.some((kind) => list.signals.has(kind))) &&
    (!list.hits || list.hits.has(card.key))
  );
}

/** Applies every filter and the order; keeps the selected trajectory selected. */
function refilter() {
  list.shown = list.cards.filter(matches).sort(SORTS[valueOf("sort") || "order"][1]);
  const solved = list.shown.filter((card) => card.success === true).length;
  const counted = list.shown.filter((card) => card.success !== null).length;
  byId("count").replaceChildren(
    make("span", {}, `${list.shown.length} of ${list.cards.length}`, list.searching ? " (searching ...)" : ""),
    make("span", {}, counted ? `${Math.round((100 * solved) / counted)} % solved` : ""));
  byId("sizer").style.height = `${list.shown.length * ROW}px`;
  paint(true);
}

/** Full-text search: cards at once, texts chunk by chunk as they are unpacked. */
async function search() {
  const round = ++list.round;
  await wait(120);
  if (round !== list.round) return;
  const wanted = valueOf("search").trim().toLowerCase();
  list.searched = wanted;
  list.hits = wanted ? new Set(list.cards.filter((card) => card.haystack.includes(wanted)).map((card) => card.key)) : null;
  list.searching = Boolean(wanted);
  refilter();
  if (!wanted) return;
  const size = source.head.chunk;
  let painted = performance.now();
  for (const [number, shelf] of source.head.shelves.entries()) {
    for (let start = 0; start < shelf.size; start += size) {
      const records = await source.chunk(number, start);
      if (round !== list.round) return;
      (records ?? []).forEach((record, place) => {
        if (textOf(record).includes(wanted)) list.hits.add(`${shelf.run}/${shelf.file}/${start + place}`);
      });
      if (performance.now() - painted > 150) { refilter(); await wait(0); painted = performance.now(); }
    }
  }
  list.searching = false;
  refilter();
}

function textOf(record) {
  if (!record.text) {
    const words = [];
    const add = (message) => { words.push(message.content, message.reasoning ?? ""); for (const call of message.tool_calls ?? []) words.push(call.name, JSON.stringify(call.arguments)); };
    for (const turn of record.turns) { turn.seen.forEach(add); add(turn.reply); words.push(turn.feedback); }
    record.closing.forEach(add);
    words.push(record.error);
    Object.defineProperty(record, "text", { value: words.join("\n").toLowerCase() });
  }
  return record.text;
}

const rows = new Map(); // place in the list -> element

/** Puts the visible rows into the page and takes the others out. */
function paint(afresh = false) {
  const box = byId("list");
  const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 6);
  const last = Math.min(list.shown.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + 6);
  for (const [place, row] of rows) if (afresh || place < first || place >= last) { row.remove(); rows.delete(place); }
  const added = document.createDocumentFragment();
  for (let place = first; place < last; place++) {
    if (rows.has(place)) continue;
    const row = rowOf(list.shown[place], place);
    rows.set(place, row);
    added.append(row);
  }
  byId("sizer").append(added);
}

function rowOf(card, place) {
  const [mark, tone, word] = card.success === true ? ["\u2713", "yes", "solved"] : card.success === false ? ["\u2717", "no", "not solved"] : ["!", "off", "not counted"];
  const chosen = card.key === list.selected;
  const run = source.head.runs.length > 1 ? source.head.runs[card.run].name : null;
  const where = card.kind === "training" ? `step ${card.step}` : card.label;
  const facts = [run, where, `${card.turns} turns`, card.tokens && `${card.tokens} tokens`, ...card.signals.map((kind) => kind.replaceAll("_", " "))];
  const row = make("div", { class: "row", role: "option", id: `row-${place}`, "aria-selected": chosen, "aria-posinset": place + 1, "aria-setsize": list.shown.length, onclick: () => choose(place) },
    make("span", { class: tone, "aria-label": word }, mark),
    make("b", {}, card.task || card.episode),
    make("span", { class: "mono" }, card.outcome === null ? card.status : figure(card.outcome)),
    make("small", {}, facts.filter(Boolean).join(" \u00b7 ")));
  row.style.transform = `translateY(${place * ROW}px)`;
  return row;
}

/** Selects a place of the list and opens it. */
function choose(place) {
  if (place < 0 || place >= list.shown.length) return;
  const box = byId("list");
  const top = place * ROW;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW - box.clientHeight;
  list.selected = list.shown[place].key;
  box.setAttribute("aria-activedescendant", `row-${place}`);
  paint(true);
  list.open(list.shown[place]);
}

function step(by) {
  const place = list.shown.findIndex((card) => card.key === list.selected);
  choose(Math.min(Math.max(place + by, 0), list.shown.length - 1));
}

/** Clears what would hide a trajectory, then opens it. */
function jumpTo(key) {
  let place = list.shown.findIndex((card) => card.key === key);
  if (place < 0) {
    byId("filters").reset();
    list.signals.clear();
    list.hits = null;
    refilter();
    place = list.shown.findIndex((card) => card.key === key);
  }
  choose(place);
}
