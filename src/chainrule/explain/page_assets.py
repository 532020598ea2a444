"""Style sheet and script of the page."""

STYLE = """
:root { --ink: #1b1f24; --paper: #ffffff; --soft: #f3f5f8; --line: #c9d0d8; --value: #00558c;
  --gradient: #a63c00; --mark: #ffd54a; --ok: #00558c; --bad: #a63c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --paper: #14171b; --soft: #1e2329;
  --line: #3a424c; --value: #7cc4f5; --gradient: #ffae7a; --mark: #8a6d00; --ok: #7cc4f5;
  --bad: #ffae7a; } }
html { color-scheme: light dark; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 0 0 .5rem; display: flex; gap: .6rem; align-items: center; }
.result { font-size: 1.2rem; margin: .2rem 0; }
.note, figcaption, .keys { font-size: .85rem; opacity: .85; }
figure { margin: 1rem 0 .5rem; }
.scroll { overflow-x: auto; max-width: 100%; }
figure .scroll { border: 1px solid var(--line); border-radius: 8px; max-height: 52vh;
  overflow: auto; }
figure svg { display: block; margin: auto; }
.v { color: var(--value); } .g { color: var(--gradient); font-style: italic; }
nav { position: sticky; top: 0; background: var(--paper); padding: .5rem 0; display: none;
  flex-wrap: wrap; gap: .6rem; align-items: center; z-index: 1; }
.scripted nav { display: flex; }
nav output { min-width: 6.5rem; text-align: center; font-variant-numeric: tabular-nums; }
button { font: inherit; color: inherit; background: var(--soft); border: 1px solid var(--line);
  border-radius: 6px; padding: .3rem .8rem; cursor: pointer; }
button:disabled { opacity: .45; cursor: default; }
button:focus-visible, .scroll:focus-visible { outline: 3px solid var(--value); }
section { background: var(--soft); border: 1px solid var(--line); border-radius: 8px;
  padding: .8rem 1rem; margin: .6rem 0; overflow-x: auto; }
.stepping section { display: none; }
.stepping section.current { display: block; min-height: 14rem; }
.kind { font-size: .7rem; text-transform: uppercase; letter-spacing: .06em; padding: .1rem .5rem;
  border: 1px solid currentColor; border-radius: 99px; }
[data-kind=forward] .kind { color: var(--value); }
[data-kind=backward] .kind, [data-kind=chain] .kind { color: var(--gradient); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem .15rem 0; text-align: left; vertical-align: top; }
thead th { border-bottom: 1px solid var(--line); }
.derivation { margin: .3rem 0 .7rem; }
.derivation td { padding: .1rem .35rem .1rem 0; vertical-align: middle; }
.derivation.leaves { margin-left: 2rem; color: var(--gradient); }
.derivation.chain td { white-space: nowrap; }
.ratio { display: inline-flex; flex-direction: column; vertical-align: middle; line-height: 1.15;
  text-align: center; font-size: .92em; margin: 0 .1em; }
.ratio > :first-child { border-bottom: 1px solid; padding: 0 .15em; }
.over { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
sub { font-size: .72em; line-height: 0; }
.ok { color: var(--ok); } .bad { color: var(--bad); font-weight: 700; }
.update { font-weight: 600; }
.stepping .cr-graph .node, .stepping .cr-graph .edge { opacity: .6; }
.stepping .cr-graph .g { visibility: hidden; }
.stepping .cr-graph .g.seen { visibility: visible; }
.stepping .cr-graph .lit { opacity: 1; }
.stepping .cr-graph .node.lit rect { fill: var(--mark); stroke: var(--ink); stroke-width: 2; }
.stepping .cr-graph .edge.lit path { stroke: var(--ink); stroke-width: 2.4; }
@media print { nav { display: none !important; } .stepping section { display: block; }
  figure .scroll { max-height: none; } }
@media (prefers-reduced-motion: no-preference) { .cr-graph .node, .cr-graph .edge {
  transition: opacity .15s; } }
"""

SCRIPT = """
"use strict";
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const sections = all("main > section");
  const output = document.querySelector("nav output");
  const previous = document.querySelector("[data-go='-1']");
  const next = document.querySelector("[data-go='1']");
  const toggle = document.querySelector("[data-all]");
  const list = (section, name) => (section.dataset[name] || "").split(" ").filter(Boolean);
  let position = 0;
  let stepping = true;

  const show = () => {
    const current = sections[position];
    document.body.classList.toggle("stepping", stepping);
    sections.forEach((section) => section.classList.toggle("current", section === current));
    const nodes = new Set(list(current, "nodes"));
    const edges = new Set(list(current, "edges"));
    const seen = new Set();
    sections.slice(0, position + 1).forEach((section) => {
      if (section.dataset.kind !== "forward" && section.dataset.kind !== "given") {
        list(section, "edges").forEach((edge) => seen.add(edge));
      }
    });
    all("[data-node]").forEach((node) =>
      node.classList.toggle("lit", nodes.has(node.dataset.node)));
    all("[data-edge]").forEach((edge) => {
      edge.classList.toggle("lit", edges.has(edge.dataset.edge));
      edge.querySelectorAll(".g").forEach((label) =>
        label.classList.toggle("seen", seen.has(edge.dataset.edge)));
    });
    output.textContent = stepping ? `${position + 1} of ${sections.length}` : "all steps";
    previous.disabled = !stepping || position === 0;
    next.disabled = !stepping || position === sections.length - 1;
    toggle.setAttribute("aria-pressed", String(!stepping));
    toggle.textContent = stepping ? "Show all" : "Step by step";
    const lit = stepping && document.querySelector(".node.lit");
    const box = document.querySelector("figure .scroll");
    if (lit) {
      const a = lit.getBoundingClientRect();
      const b = box.getBoundingClientRect();
      box.scrollLeft += a.left + a.width / 2 - b.left - b.width / 2;
      box.scrollTop += a.top + a.height / 2 - b.top - b.height / 2;
    }
  };
  const go = (target) => {
    position = Math.max(0, Math.min(sections.length - 1, target));
    show();
  };
  const flip = () => {
    stepping = !stepping;
    show();
  };
  all("[data-go]").forEach((button) =>
    button.addEventListener("click", () => go(position + Number(button.dataset.go))));
  toggle.addEventListener("click", flip);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "a" || event.key === "A") flip();
    else if (!stepping) return;
    else if (event.key === "ArrowRight") go(position + 1);
    else if (event.key === "ArrowLeft") go(position - 1);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(sections.length - 1);
    else return;
    event.preventDefault();
  });
  const asked = /^#step-(\\d+)$/.exec(location.hash);
  document.body.classList.add("scripted");
  go(asked ? Number(asked[1]) - 1 : 0);
})();
"""
