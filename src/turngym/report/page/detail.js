// One trajectory: facts, credit by every method, and the conversation with its tokens.

const COLOURS = {
  advantage: ["advantage", (token) => token.advantage, "signed"],
  ratio: ["importance ratio (log)", (token) => (token.ratio === null ? null : Math.log(Math.max(token.ratio, 1e-6))), "signed"],
  weight: ["weight in the loss", (token) => (token.weight === null ? null : token.weight - 1), "signed"],
  logprob: ["surprise (\u2212log-probability)", (token) => (token.logprob === null ? null : token.logprob), "size"],
  entropy: ["entropy", (token) => (token.entropy === null ? null : -token.entropy), "size"],
  none: ["no colour", () => null, "size"],
};

const detail = { card: null, record: null, colour: "advantage", method: "" };

async function openDetail(card) {
  detail.card = card;
  const record = await source.record(card);
  if (detail.card !== card) return; // another one was opened meanwhile
  detail.record = record;
  const known = record ? methods(record) : [];
  if (!known.includes(detail.method)) detail.method = known.find((name) => name === (record.method || ownMethod(card))) ?? known[0] ?? "";
  showDetail();
  byId("detail").scrollTop = 0;
}

function ownMethod(card) {
  return source.head.runs[card.run].config?.credit?.method ?? "";
}

function showDetail() {
  const { card, record } = detail;
  const view = byId("detail");
  if (!card) return view.replaceChildren(make("p", { class: "empty" }, "Choose a trajectory on the left. Press ? for the keys."));
  if (!record) return view.replaceChildren(headerOf(card, null), make("p", { class: "note" }, leftOut(card)));
  const scale = scaleOf(record);
  view.replaceChildren(
    headerOf(card, record),
    record.error && make("div", { class: "note mono" }, record.error),
    matrixOf(card, record),
    methods(record).length || record.turns.some((turn) => turn.pieces) ? colourBar(record) : "",
    ...record.turns.map((turn, index) => turnOf(record, turn, index, scale)),
    record.closing.length ? make("section", { class: "turn" }, make("div", { class: "gutter" }, "end"), make("div", {}, record.closing.map(messageOf))) : "",
  );
}

function leftOut(card) {
  const shelf = source.head.shelves[card.shelf];
  return `This report had no room for its text. It is line ${card.place + 1} of trajectories/${shelf.file} in ${source.head.runs[card.run].path}; \`turngym view\` shows it.`;
}

function headerOf(card, record) {
  const run = source.head.runs[card.run].name;
  const verdict = card.success === true ? "solved" : card.success === false ? "not solved" : "not counted";
  const facts = [run, card.kind === "training" ? `step ${card.step}` : card.label, `episode ${card.episode}`, card.status, verdict,
    `outcome ${figure(card.outcome)}`, `${card.turns} turns`, `${card.tokens} tokens`, `quality ${card.quality}${record ? ` (${record.grade})` : ""}`,
    record && `${record.seconds.toFixed(1)} s`, record && `seed ${record.seed}`];
  const flags = record ? record.signals.map(([turn, kind, note]) => make("button", { class: "flag", type: "button", title: note, onclick: () => goToTurn(turn) }, `${kind.replaceAll("_", " ")} in turn ${turn + 1}`)) : [];
  const siblings = list.cards.filter((other) => other.shelf === card.shelf && other.group === card.group && other !== card).sort((a, b) => (b.outcome ?? -9e9) - (a.outcome ?? -9e9));
  const links = siblings.map((other) => [" ", make("button", { class: "linkish", type: "button", onclick: () => jumpTo(other.key) }, `${other.episode.split("/").pop()}: ${figure(other.outcome)}`)]);
  return make("header", {}, make("h2", {}, card.task || card.episode),
    make("p", { class: "facts line" }, facts.filter(Boolean).map((fact) => make("span", {}, fact))),
    flags, links.length ? make("p", { class: "facts" }, `group of ${siblings.length + 1}, others by outcome:`, links) : "");
}

/** Rows are methods, columns turns; a click goes to the turn. */
function matrixOf(card, record) {
  const own = record.method || (card.kind === "training" ? ownMethod(card) : "");
  const rows = [...Object.entries(record.credits)].sort(([a], [b]) => (b === own) - (a === own) || a.localeCompare(b));
  const rewards = record.turns.map((turn) => turn.reward);
  const extra = rewards.some((value) => value !== null) ? [["turn reward", rewards]] : [];
  extra.push(...Object.entries(record.columns));
  const absent = rows.length ? Object.keys(source.head.methods).filter((name) => !(name in record.credits)) : [];
  if (!rows.length && !extra.length) return make("p", { class: "soft" }, "No credit: this was played alone, not in a group that was trained on.");
  const line = ([name, values], kind) => {
    const scale = Math.max(...values.map((value) => Math.abs(value ?? 0)), 1e-9);
    const cells = values.map((value, index) => {
      const cell = make("td", { onclick: () => goToTurn(index) }, value === null ? "" : figure(value, true));
      cell.style.background = tint(value, scale);
      return cell;
    });
    return make("tr", { class: kind }, make("th", { scope: "row" }, name), cells);
  };
  const needs = absent.map((name) => `${name} (${source.head.methods[name].join(", ")})`);
  const heat = make("table", { class: "matrix", "aria-label": "Credit of each turn by method" },
    make("thead", {}, make("tr", {}, make("th", {}, ""), record.turns.map((_, index) => make("th", { scope: "col" }, index + 1)))),
    make("tbody", {}, rows.map((row) => line(row, row[0] === own ? "own" : "")), extra.map((row) => line(row, "input"))));
  return make("div", {}, heat, absent.length > 0 && make("details", { class: "soft absent" }, make("summary", {}, `${absent.length} methods need signals that this run did not measure`), `${needs.join(", ")}. `, make("code", {}, "turngym credit"), " measures them."));
}

const methods = (record) => Object.keys(record.credits);

function colourBar(record) {
  const choose = (name, values, current, change) => make("select", { "aria-label": name, onchange: (event) => { change(event.target.value); redraw(event.target.getAttribute("aria-label")); } },
    values.map(([value, label]) => make("option", { value, selected: value === current }, label)));
  const redraw = (label) => { const top = byId("detail").scrollTop; showDetail(); byId("detail").scrollTop = top; document.querySelector(`#detail select[aria-label="${label}"]`)?.focus(); };
  return make("div", { class: "colour" },
    make("label", {}, "colour by", choose("Colour by", Object.entries(COLOURS).map(([value, [label]]) => [value, label]), detail.colour, (value) => { detail.colour = value; })),
    methods(record).length > 0 && make("label", {}, "of", choose("Method", methods(record).map((name) => [name, name]), detail.method, (value) => { detail.method = value; })),
    make("span", { class: "soft" }, "\u2212 ", make("span", { class: "scale" }), " +"),
    make("span", { class: "soft" }, record.turns.some((turn) => turn.detail?.ratio) ? "struck through: masked out of the loss" : record.turns.some((turn) => turn.pieces) ? "ratios and masks were not kept for this one" : "tokens were not kept for this one"));
}

/** Everything known of each token of a turn. */
function tokensOf(turn, record, index) {
  if (!turn.pieces) return [];
  const credit = record.credits[detail.method]?.[index] ?? null;
  const kept = turn.detail?.ratio ? turn.detail : null;
  const own = record.method === detail.method ? turn.token_credit : null;
  return turn.pieces.map((piece, place) => ({
    piece,
    advantage: own?.[place] ?? credit,
    ratio: kept?.ratio[place] ?? null,
    weight: kept ? (kept.weight?.[place] ?? 1) : null,
    entropy: kept?.entropy[place] ?? null,
    trained: kept ? kept.trained[place] : null,
    logprob: turn.logprobs?.[place] ?? null,
    low: kept?.low, high: kept?.high,
  }));
}

function scaleOf(record) {
  const [, measure] = COLOURS[detail.colour];
  const values = record.turns.flatMap((turn, index) => tokensOf(turn, record, index).map(measure));
  const credits = detail.colour === "advantage" ? (record.credits[detail.method] ?? []) : [];
  return Math.max(...[...values, ...credits].map((value) => Math.abs(value ?? 0)), detail.colour === "advantage" ? 1e-9 : 0.05);
}

function turnOf(record, turn, index, scale) {
  const credit = record.credits[detail.method]?.[index] ?? null;
  const badge = make("span", { class: "badge", title: `credit by ${detail.method}` }, figure(credit, true));
  badge.style.background = tint(credit, detail.colour === "advantage" ? scale : Math.abs(credit));
  return make("section", { class: "turn", id: `turn-${index}`, "aria-label": `Turn ${index + 1}` },
    make("div", { class: "gutter" }, `turn ${index + 1}`, make("br"), credit === null ? "" : badge, turn.opens && index ? [make("br"), "new segment"] : ""),
    make("div", {}, turn.seen.map(messageOf), replyOf(record, turn, index, scale, credit), measuresOf(turn)));
}

function replyOf(record, turn, index, scale, credit) {
  const { reply } = turn;
  const tokens = tokensOf(turn, record, index);
  const told = tokens.map((token) => token.piece).join("");
  const plain = !tokens.length || !told.includes(reply.content.trim()); // as where no tokenizer was at hand
  const shown = make("div", { class: "text" }, reply.content);
  if (!tokens.length && detail.colour === "advantage") shown.style.background = tint(credit, scale * 2);
  return make("div", { class: "message" }, make("div", { class: "role" }, "assistant"),
    make("div", { class: "reply" },
      plain && reply.reasoning ? make("div", { class: "reasoning text" }, reply.reasoning) : "",
      plain && reply.content ? shown : "", tokens.length ? tokenText(tokens, scale) : "", (reply.tool_calls ?? []).map(callOf)));
}

function callOf(call) {
  const short = JSON.stringify(call.arguments);
  return make("div", { class: "call" }, `${call.name}(${short.length < 90 ? short : JSON.stringify(call.arguments, null, 1)})`);
}

/** Coloured tokens; the box takes the focus and the arrow keys walk through it. */
function tokenText(tokens, scale) {
  const [, measure] = COLOURS[detail.colour];
  const spans = tokens.map((token) => {
    const span = make("span", { class: token.trained === 0 ? "masked" : null }, token.piece);
    span.style.background = tint(measure(token), scale);
    return span;
  });
  let at = -1;
  const point = (place) => {
    spans[at]?.classList.remove("at");
    at = place;
    spans[at]?.classList.add("at");
    inspect(tokens[at]);
  };
  return make("div", {
    class: "tokens", tabindex: 0, role: "group", "aria-label": "Tokens of the reply; arrow keys walk through them",
    onpointerover: (event) => { const place = spans.indexOf(event.target); if (place >= 0) point(place); },
    onpointerleave: () => point(-1),
    onblur: () => point(-1),
    onkeydown: (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      point(Math.min(Math.max(at + by, 0), spans.length - 1));
      event.preventDefault();
      event.stopPropagation();
    },
  }, spans);
}

function inspect(token) {
  if (!token) return byId("inspector").replaceChildren();
  const parts = [JSON.stringify(token.piece), `log-probability ${figure(token.logprob)}`, `advantage ${figure(token.advantage, true)}`];
  if (token.ratio !== null) parts.push(`ratio ${token.ratio.toFixed(4)} in [${figure(token.low)}, ${figure(token.high)}]`, `weight ${figure(token.weight)}`, `entropy ${figure(token.entropy)}`, token.trained ? "trained" : "masked");
  byId("inspector").textContent = parts.join(" \u00b7 ");
}

function measuresOf(turn) {
  const parts = Object.entries(turn.rewards).map(([name, value]) => [name, figure(value)]);
  if (turn.reward !== null) parts.unshift(["turn reward", figure(turn.reward)]);
  if (turn.status !== "ok") parts.unshift(["status", turn.status]);
  if (turn.finish !== "stop") parts.push(["finish", turn.finish]);
  if (turn.drops.length) parts.push(["forgets turns", turn.drops.map((number) => number + 1).join(", ")]);
  const kept = turn.detail;
  if (kept) parts.push(["clip range", `${figure(kept.low)} to ${figure(kept.high)}`]);
  if (kept?.ratio?.length) {
    const ratios = kept.ratio.filter((value) => value !== null);
    const range = (values) => { const [low, high] = [Math.min(...values), Math.max(...values)].map((value) => value.toFixed(3)); return low === high ? low : `${low} to ${high}`; };
    parts.push(["ratio", range(ratios)], ["of the turn", kept.turn_ratio.toFixed(3)], ["clipped", `${Math.round(100 * kept.clipped)} %`]);
    if (kept.weight) parts.push(["weight", `${figure(Math.min(...kept.weight))} to ${figure(Math.max(...kept.weight))}`]);
    const masked = kept.trained.filter((flag) => !flag).length;
    if (masked) parts.push(["masked tokens", masked]);
  }
  if (turn.length) parts.push(["tokens", turn.length]);
  return make("div", { class: "measures" }, parts.map(([name, value]) => make("span", {}, `${name} `, make("b", {}, value))),
    turn.feedback && make("div", { class: "text" }, turn.feedback));
}

const LONG = 2400;

function messageOf(message) {
  const text = make("div", { class: "text" }, message.content);
  const long = message.content.length > LONG || message.content.split("\n").length > 28;
  const more = make("button", { class: "linkish", type: "button", onclick: () => { text.classList.remove("long"); more.remove(); } }, `show all ${message.content.length} characters`);
  if (long) text.classList.add("long");
  const who = message.role === "tool" ? `tool ${message.name ?? message.tool_call_id ?? ""}` : message.role;
  return make("div", { class: "message" }, make("div", { class: "role" }, who), text, (message.tool_calls ?? []).map(callOf), long && more);
}

function goToTurn(index) {
  byId(`turn-${Math.max(index, 0)}`)?.scrollIntoView({ block: "start" });
}

/** Scrolls to the turn after or before the one at the top. */
function nextTurn(by) {
  const top = byId("detail").getBoundingClientRect().top + 40;
  const turns = [...document.querySelectorAll("#detail .turn")];
  const current = turns.findLastIndex((turn) => turn.getBoundingClientRect().top <= top + 4);
  turns[Math.min(Math.max(current + by, 0), turns.length - 1)]?.scrollIntoView({ block: "start" });
}
