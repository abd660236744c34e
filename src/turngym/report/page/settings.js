// Settings of the runs side by side; what differs is marked.

function showSettings(head) {
  const flat = head.runs.map((run) => flatten(run.config));
  const keys = [...new Set(flat.flatMap((one) => Object.keys(one)))];
  const first = ["env", "policy", "credit", "loss", "signals"];
  const rank = (key) => { const place = first.indexOf(key.split(".")[0]); return place < 0 ? first.length : place; };
  keys.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  const body = keys.map((key) => {
    const values = flat.map((one) => (key in one ? one[key] : ""));
    return make("tr", { class: new Set(values).size > 1 ? "differs" : null }, make("th", { scope: "row" }, key), values.map((value) => make("td", { class: "mono" }, value)));
  });
  const caption = head.runs.length > 1 ? "Settings; tinted rows differ" : "Settings";
  byId("view-settings").replaceChildren(
    keys.length ? table(caption, ["", ...head.runs.map((run) => run.name)], body) : make("p", { class: "empty" }, "A file of trajectories has no settings."),
    evaluationsOf(head));
}

function evaluationsOf(head) {
  const interval = (found) => `${figure(found.value)} [${figure(found.low)}, ${figure(found.high)}]`;
  const rows = head.runs.flatMap((run) => run.evaluations.map((one) => make("tr", {},
    make("th", { scope: "row" }, `${run.name}: ${one.label}`), make("td", {}, one.step), make("td", { class: "mono" }, interval(one.success)), make("td", { class: "mono" }, interval(one.outcome)),
    make("td", {}, one.turns.toFixed(1)), make("td", {}, Object.entries(one.statuses).map(([name, count]) => `${name} ${count}`).join(", ")))));
  return rows.length ? table("Held-out tasks", ["", "after step", "success, 95 %", "outcome, 95 %", "turns", "endings"], rows) : "";
}

function table(caption, columns, body) {
  return make("table", { class: "settings" }, make("caption", {}, caption), make("thead", {}, make("tr", {}, columns.map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, body));
}

function flatten(value, path = "", found = {}) {
  if (value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length) {
    for (const [key, inner] of Object.entries(value)) flatten(inner, path ? `${path}.${key}` : key, found);
  } else if (path) {
    found[path] = typeof value === "string" ? value : JSON.stringify(value);
  }
  return found;
}
