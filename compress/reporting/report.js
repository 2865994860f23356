"use strict";
const MISSING = "–", MINUS = "−", TIMES = "×";
const setting = document.getElementById("setting"), filters = document.getElementById("filters"), tip = document.getElementById("tip");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const isPicked = (data, name, value) => !data.has("has-" + name) || data.getAll(name).includes(value);
const number = (value, digits) => value.toFixed(digits).replace(/^-(?=0(\.0*)?$)/, "").replace("-", MINUS);

function showSetting() {
  const data = new FormData(setting), view = data.get("view") || "latency";
  const shape = ["device", "batch", "length", "threads"].filter((name) => data.has(name));
  let panel = null;
  for (const one of all(".panel")) {
    const isShown = !panel && shape.every((name) => one.dataset[name] === data.get(name));
    one.hidden = !isShown;
    if (isShown) panel = one;
  }
  document.getElementById("unmeasured").hidden = panel !== null;
  for (const figure of all("[data-view]")) figure.hidden = figure.dataset.view !== view;
  const isShown = (own) => isPicked(data, "target", own.target) && isPicked(data, "run", own.run);
  for (const own of all("#front [data-target]")) own.toggleAttribute("hidden", !isShown(own.dataset));
  for (const drawing of all("#front svg.drawing")) drawFront(drawing);
  if (panel) setBaseline(panel, data.get("baseline") || "");
  tell(panel, view);
  tip.hidden = true;
}

// The line through what nothing that is shown beats in both, cheapest first; y grows downwards.
function drawFront(drawing) {
  const sign = drawing.hasAttribute("data-less") ? -1 : 1;
  const at = (mark) => [mark, ...["cx", "cy"].map((name) => Number(mark.querySelector("circle").getAttribute(name)))];
  const marks = all(".mark:not([hidden])", drawing).map(at).sort((a, b) => a[1] - b[1] || sign * (a[2] - b[2]));
  let best = Infinity;
  const front = marks.filter(([, , y]) => sign * y < best && ((best = sign * y), true));
  drawing.querySelector(".front").setAttribute("d", front.map(([, x, y], index) => (index ? "L" : "M") + x + " " + y).join(" "));
  for (const [index, [mark]] of marks.entries()) mark.setAttribute("tabindex", index ? "-1" : "0");
  drawing.dataset.front = front.length;
}

// Speed-ups and drops against another subject; what was timed on another machine or judged on other rows has none.
function setBaseline(panel, id) {
  const rows = all("tbody tr", panel), base = rows.find((row) => row.dataset.id === id);
  const isRise = panel.hasAttribute("data-less");
  for (const row of rows) {
    const drop = row.querySelector(".drop"), speedup = row.querySelector(".speedup"), own = row.dataset;
    row.classList.toggle("base", row === base);
    if (!base) {
      [drop.textContent, speedup.textContent] = [drop.dataset.own, speedup.dataset.own];
      continue;
    }
    const [score, other] = [own.score, base.dataset.score].map(Number);
    const isJudged = own.score !== "" && base.dataset.score !== "" && own.rows === base.dataset.rows && row !== base && !(isRise && !other);
    drop.textContent = isJudged ? number(100 * (isRise ? score / other - 1 : other - score), 1) : MISSING;
    const isTimed = own.ms && base.dataset.ms && own.machine === base.dataset.machine;
    speedup.textContent = isTimed ? number(base.dataset.ms / own.ms, 1) + TIMES : MISSING;
  }
}

function tell(panel, view) {
  const rows = panel ? all("tbody tr", panel) : [], shown = rows.filter((row) => !row.hidden);
  const figures = view === "size" ? document.querySelector("[data-view=size]") : panel;
  const front = figures ? all("svg.wide", figures).reduce((sum, drawing) => sum + Number(drawing.dataset.front), 0) : 0;
  const base = setting.elements.baseline, against = base && base.value ? "; against " + base.selectedOptions[0].textContent.trim() : "";
  document.getElementById("said").textContent = panel ? `${shown.length} of ${rows.length} subjects shown, ${front} on the front${against}.` : "";
}

function showExamples() {
  const data = new FormData(filters), text = (data.get("text") || "").trim().toLowerCase(), examples = all(".example");
  for (const example of examples) {
    const own = example.dataset, labels = JSON.parse(own.labels);
    example.hidden = !(
      (!data.get("label") || labels.includes(data.get("label"))) &&
      (!data.get("right") || own.right === data.get("right")) &&
      (!data.get("run") || own.run === data.get("run")) &&
      (!text || example.textContent.toLowerCase().includes(text))
    );
  }
  const shown = examples.filter((example) => !example.hidden).length;
  document.getElementById("matching").textContent = `${shown} of ${examples.length} examples.`;
}

function showTip(event) {
  const mark = event.target.closest && event.target.closest("[data-tip]");
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const box = mark.querySelector("circle").getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = Math.min(Math.max(box.left + box.width / 2 - own.width / 2, 8), innerWidth - own.width - 8);
  const above = box.top - own.height - 8;
  tip.style.left = left + "px";
  tip.style.top = (above > 8 ? above : box.bottom + 8) + "px";
}

// Arrow keys go from point to point, from left to right; one of a figure's points is reached by Tab.
function step(event) {
  if (event.key === "Escape") tip.hidden = true;
  const mark = event.target.closest && event.target.closest(".mark");
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
  if (!mark || !by) return;
  event.preventDefault();
  const across = (one) => Number(one.querySelector("circle").getAttribute("cx"));
  const marks = all(".mark:not([hidden])", mark.ownerSVGElement).sort((a, b) => across(a) - across(b));
  const next = marks[Math.min(Math.max(marks.indexOf(mark) + by, 0), marks.length - 1)];
  for (const one of marks) one.setAttribute("tabindex", one === next ? "0" : "-1");
  next.focus();
}

function setTheme(event) {
  if (event.target.value === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = event.target.value;
}

function openTarget() {
  const target = document.getElementById(location.hash.slice(1)), run = target && target.closest("details");
  if (run) { run.open = true; target.scrollIntoView(); }
}

if (setting) { setting.addEventListener("change", showSetting); showSetting(); }
if (filters) { for (const kind of ["input", "change"]) filters.addEventListener(kind, showExamples); showExamples(); }
for (const form of all("form")) { form.hidden = false; form.addEventListener("submit", (event) => event.preventDefault()); }
document.getElementById("theme").addEventListener("change", setTheme);
for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, showTip);
document.addEventListener("scroll", () => { tip.hidden = true; }, true);
document.addEventListener("keydown", step);
addEventListener("hashchange", openTarget);
openTarget();
