/* The graph: zoom and pan by wheel, fingers, buttons and keys; a chosen entry shows its neighbours
   and a card. Without this script the picture scrolls and its entries are links. */
"use strict";
(() => {
  const figure = document.querySelector(".network");
  if (!figure) return;
  const box = figure.querySelector(".network-box");
  const svg = box.querySelector("svg");
  const card = figure.querySelector(".network-card");
  const form = figure.querySelector("form");
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const nodes = [...svg.querySelectorAll(".nodes a")];
  const lines = [...svg.querySelectorAll(".edges path")].map((path) => {
    const [source, target] = path.dataset.ends.split(" ").map(Number);
    return { path, source, target, relation: path.classList[0] };
  });
  const words = {};
  for (const input of form.querySelectorAll("[name=relation]")) words[input.value] = input.dataset;
  const nameOf = (node) => node.querySelector("title").textContent;
  const make = (tag, properties = {}, ...inside) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...inside);
    return element;
  };

  // --- zoom and pan -----------------------------------------------------------------------------
  box.classList.add("live");
  box.style.setProperty("--high", `${(100 * height) / width}cqw`);
  form.querySelector(".zoom").hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  let left = 0, top = 0, scale = 1; // of the corner, in units; pixels a unit
  const size = () => svg.getBoundingClientRect();
  const least = () => Math.min(size().width / width, size().height / height);
  function draw() {
    const { width: w, height: h } = size();
    if (!w || !h) return;
    scale = Math.min(6, Math.max(least(), scale));
    // The picture stays in sight: what is smaller than the window is centred in it.
    const keep = (at, seen, whole) =>
      seen >= whole ? (whole - seen) / 2 : Math.min(whole - seen, Math.max(0, at));
    left = keep(left, w / scale, width);
    top = keep(top, h / scale, height);
    svg.setAttribute("viewBox", `${left} ${top} ${w / scale} ${h / scale}`);
  }
  function zoom(factor, x = size().width / 2, y = size().height / 2) {
    const former = scale;
    scale = Math.min(6, Math.max(least(), scale * factor));
    left += x / former - x / scale;
    top += y / former - y / scale;
    draw();
  }
  function pan(x, y) {
    left += x / scale;
    top += y / scale;
    draw();
  }
  function fit() {
    scale = 0;
    draw();
  }
  const point = (node) => node.getAttribute("transform").match(/[-\d.]+/g).map(Number);
  function reveal(node) {
    const [x, y] = point(node);
    const { width: w, height: h } = size();
    const margin = 20 / scale;
    if (x < left + margin || x > left + w / scale - 90 / scale) left = x - w / scale / 2;
    if (y < top + margin || y > top + h / scale - margin) top = y - h / scale / 2;
    draw();
  }
  const DO = { in: () => zoom(1.4), out: () => zoom(1 / 1.4), fit };
  form.addEventListener("click", (event) => DO[event.target.dataset?.do]?.());
  // The wheel scrolls the page until the picture was clicked, so that nobody gets caught in it.
  const held = () => box.classList.contains("held");
  box.addEventListener("wheel", (event) => {
    if (!held() && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const corner = size();
    zoom(Math.exp(-event.deltaY * 0.002), event.clientX - corner.x, event.clientY - corner.y);
  }, { passive: false });
  box.addEventListener("keydown", (event) => {
    const step = 60;
    const keys = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (keys[event.key]) pan(...keys[event.key]);
    else if (event.key === "+" || event.key === "=") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") fit();
    else if (event.key === "Escape") {
      choose(null);
      box.classList.remove("held");
    } else return;
    event.preventDefault();
  });
  const fingers = new Map();
  let moved = 0;
  box.addEventListener("pointerdown", (event) => {
    if (!fingers.size) moved = 0;
    fingers.set(event.pointerId, event);
  });
  addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const [x, y] = [event.clientX - before.clientX, event.clientY - before.clientY];
    moved += Math.abs(x) + Math.abs(y);
    if (fingers.size === 1) pan(-x, -y);
    else {
      const other = [...fingers.values()].find((each) => each.pointerId !== event.pointerId);
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      const corner = size();
      zoom(apart(event) / Math.max(apart(before), 1),
        (event.clientX + other.clientX) / 2 - corner.x, (event.clientY + other.clientY) / 2 - corner.y);
    }
    fingers.set(event.pointerId, event);
  });
  for (const end of ["pointerup", "pointercancel"])
    addEventListener(end, (event) => fingers.delete(event.pointerId));
  addEventListener("pointerdown", (event) => {
    if (!figure.contains(event.target)) box.classList.remove("held");
  });
  svg.addEventListener("dragstart", (event) => event.preventDefault());
  svg.addEventListener("focusin", (event) => {
    const node = event.target.closest(".nodes a");
    if (node?.matches(":focus-visible")) reveal(node);
  });
  new ResizeObserver(draw).observe(svg);

  // --- the chosen entry -------------------------------------------------------------------------
  function choose(node) {
    for (const each of svg.querySelectorAll(".near, .self")) each.classList.remove("near", "self");
    svg.classList.toggle("chosen", Boolean(node));
    if (!node) {
      card.replaceChildren(make("p", { className: "hint", textContent:
        "Choose an entry to see its neighbours. Click into the picture, then the wheel zooms; Ctrl and the wheel always do. Keys: arrows, + and −, 0 for all, Escape." }));
      return;
    }
    const place = Number(node.dataset.n);
    const found = new Map();
    node.classList.add("near", "self");
    for (const { path, source, target, relation } of lines) {
      if (source !== place && target !== place) continue;
      const other = nodes[source === place ? target : source];
      path.classList.add("near");
      other.classList.add("near");
      const label = source === place ? words[relation].label : words[relation].inverse;
      found.set(label, [...(found.get(label) ?? []), other]);
    }
    const jump = (other) => {
      const button = make("a", { href: other.href.baseVal, textContent: nameOf(other).split(", ")[0] });
      button.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        choose(other);
        reveal(other);
        card.querySelector("a").focus();
      });
      return button;
    };
    const facts = [...found].map(([label, others]) =>
      make("p", {}, `${label}: `, ...others.flatMap((other, n) => (n ? [", ", jump(other)] : [jump(other)]))));
    const title = nameOf(node).split(", ");
    card.replaceChildren(
      make("p", {}, make("strong", {}, make("a", { href: node.href.baseVal, textContent: title.slice(0, -2).join(", ") })),
        ` ${title.slice(-2).join(", ")}`),
      ...(facts.length ? facts : [make("p", { textContent: "No line leads here." })]));
  }
  svg.addEventListener("click", (event) => {
    if (moved > 6) return event.preventDefault();
    const node = event.target.closest(".nodes a");
    box.classList.add("held");
    if (!node) return choose(null);
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    choose(node.classList.contains("self") ? null : node);
  });
  choose(null);

  // A narrow window starts with the newest entries at a readable size.
  fit();
  if (scale < 0.6) {
    scale = 0.8;
    [left, top] = [width, 0];
    draw();
  }
})();
