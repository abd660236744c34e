// Views, keys, theme, and the heartbeat of a live report.

const VIEWS = ["curves", "trajectories", "settings"];
const KEYS = [
  ["1 2 3", "curves, trajectories, settings"], ["/", "search"], ["j k", "next, previous trajectory"], ["n p", "next, previous turn"],
  ["\u2190 \u2192", "walk through tokens or steps, where they have the focus"], ["t", "light or dark"], ["Esc", "leave a field"], ["?", "this list"],
];

function showView(name) {
  for (const view of VIEWS) {
    byId(`view-${view}`).hidden = view !== name;
    const tab = byId(`tab-${view}`);
    tab.setAttribute("aria-selected", view === name);
    tab.tabIndex = view === name ? 0 : -1;
  }
  if (name === "trajectories") { paint(true); if (!detail.card) showDetail(); }
  remember();
}

const currentView = () => VIEWS.find((view) => !byId(`view-${view}`).hidden) ?? "curves";

/** Keeps view and trajectory in the address, so that a link leads back here. */
function remember() {
  const chosen = currentView() === "trajectories" && list.selected ? `/${list.selected}` : "";
  try { history.replaceState(null, "", `#${currentView()}${chosen}`); } catch { /* some browsers refuse this for local files */ }
}

function recall() {
  const [view, ...key] = decodeURIComponent(location.hash.slice(1)).split("/");
  showView(VIEWS.includes(view) ? view : "curves");
  if (view === "trajectories" && key.length) jumpTo(key.join("/"));
}

function toggleTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("turngym-theme", root.dataset.theme); } catch { /* no storage for local files */ }
}

function firstTheme() {
  let kept = null;
  try { kept = localStorage.getItem("turngym-theme"); } catch { /* as above */ }
  document.documentElement.dataset.theme = kept ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape" && typing) return event.target.blur();
  if (typing || byId("help").open) return;
  const inList = currentView() === "trajectories";
  const actions = {
    1: () => showView("curves"), 2: () => showView("trajectories"), 3: () => showView("settings"), t: toggleTheme, "?": () => byId("help").showModal(),
    ...(inList && { "/": () => byId("search").focus(), j: () => step(1), k: () => step(-1), n: () => nextTurn(1), p: () => nextTurn(-1) }),
    ...(event.target.id === "list" && { ArrowDown: () => step(1), ArrowUp: () => step(-1), Home: () => choose(0), End: () => choose(list.shown.length - 1), PageDown: () => step(10), PageUp: () => step(-10), Enter: () => byId("detail").focus() }),
    ...(event.target.role === "tab" && { ArrowRight: () => moveTab(1), ArrowLeft: () => moveTab(-1) }),
  };
  if (!(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
}

function moveTab(by) {
  const view = VIEWS[(VIEWS.indexOf(currentView()) + by + VIEWS.length) % VIEWS.length];
  showView(view);
  byId(`tab-${view}`).focus();
}

/** Shows a head that is new, keeping filters and selection. */
function show(head, first) {
  list.cards = readCards(head);
  list.cards.forEach((card, index) => { card.index = index; });
  const kept = first ? {} : Object.fromEntries([...byId("filters").querySelectorAll("input, select")].map((field) => [field.id, field.value]));
  const opened = byId("signals")?.open;
  showCurves(head);
  showSettings(head);
  showFilters(head, list.cards);
  for (const [id, value] of Object.entries(kept)) if (id && byId(id)) byId(id).value = value;
  if (opened) byId("signals").open = true;
  if (list.searched) search(); else refilter();
  byId("loading").hidden = true;
}

async function beat() {
  const said = byId("live");
  for (;;) {
    await wait(2000);
    try {
      const focus = document.activeElement?.id;
      if (await source.refresh()) { show(source.head, false); if (focus) byId(focus)?.focus(); }
      said.textContent = `live, ${Math.max(...source.head.runs.map((run) => run.steps))} steps`;
    } catch {
      said.textContent = "the server does not answer";
    }
  }
}

async function start() {
  firstTheme();
  list.open = (card) => { openDetail(card); remember(); };
  byId("list").addEventListener("scroll", () => requestAnimationFrame(() => paint()), { passive: true });
  new ResizeObserver(() => paint()).observe(byId("list"));
  addEventListener("keydown", pressed);
  addEventListener("hashchange", recall);
  for (const view of VIEWS) byId(`tab-${view}`).addEventListener("click", () => showView(view));
  byId("theme").addEventListener("click", toggleTheme);
  byId("keys").addEventListener("click", () => byId("help").showModal());
  byId("help").replaceChildren(make("table", {}, KEYS.map(([key, what]) => make("tr", {}, make("td", {}, make("kbd", {}, key)), make("td", {}, what)))), make("form", { method: "dialog" }, make("button", {}, "Close")));
  await source.refresh();
  show(source.head, true);
  recall();
  if (source.live) beat();
}

start().catch((error) => {
  byId("loading").hidden = false;
  byId("loading").textContent = `This report cannot be shown: ${error.message}. It needs a browser from 2023 or later.`;
  throw error;
});
