/* Sunbursts: tabs instead of one below the other, zooming into a term, links to its entries.
   Matrices: rows sorted by any column. Without this script every link leads to a term's page. */
"use strict";
(() => {
  const TURN = 2 * Math.PI;
  const make = (tag, properties = {}, ...inside) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...inside);
    return element;
  };

  // --- tabs -------------------------------------------------------------------------------------
  const views = [...document.querySelectorAll(".facet-view")];
  const tabs = [...document.querySelectorAll(".facet-tabs a")];
  const charts = new Map();
  function show(scroll) {
    const [facet, term] = decodeURIComponent(location.hash.slice(1)).split("/");
    const known = views.some((view) => view.querySelector("h2").id === facet);
    // The address may name another part of the page: then the tab stays as it is.
    if (!known && facet && views.some((view) => view.hidden)) return;
    const wanted = known ? facet : views[0].querySelector("h2").id;
    for (const view of views) view.hidden = view.querySelector("h2").id !== wanted;
    for (const tab of tabs) {
      if (tab.hash === `#${wanted}`) tab.setAttribute("aria-current", "true");
      else tab.removeAttribute("aria-current");
    }
    charts.get(wanted)?.(term ?? "");
    if (scroll && known) document.querySelector(".facet-tabs").scrollIntoView({ block: "nearest" });
  }

  // --- sunbursts --------------------------------------------------------------------------------
  function sunburst(figure, facet) {
    const svg = figure.querySelector(".sunburst");
    const edges = svg.dataset.edges.split(" ").map(Number);
    const big = svg.querySelector(".middle .big");
    const all = big.textContent;
    const panel = make("div", { className: "term-panel" });
    panel.setAttribute("aria-live", "polite");
    figure.append(panel);
    const slices = [...svg.querySelectorAll(".slice")].map((element) => {
      const [start, end, depth] = element.dataset.at.split(" ").map(Number);
      const label = element.querySelector("text");
      const title = element.querySelector("title").textContent;
      const kinds = element.dataset.kinds.split(" ").filter(Boolean).map((each) => each.split(":"));
      return { element, start, end, depth, label, kinds, id: element.dataset.id,
        path: element.querySelector("path"), name: title.slice(0, title.lastIndexOf(":")),
        count: kinds.reduce((sum, [, count]) => sum + Number(count), 0) };
    });
    const inside = (each, outer) =>
      each.depth > outer.depth && each.start >= outer.start - 1e-6 && each.end <= outer.end + 1e-6;
    let view = [0, 1], chosen = null, running = 0;

    function ring(start, end, inner, outer) { // as charts.ring does it
      if (end - start > 0.9999) return [outer, inner]
        .map((r) => `M0 ${-r}A${r} ${r} 0 1 1 0 ${r}A${r} ${r} 0 1 1 0 ${-r}z`).join("");
      const at = (r, t) => `${(r * Math.sin(TURN * t)).toFixed(1)} ${(-r * Math.cos(TURN * t)).toFixed(1)}`;
      const large = end - start > 0.5 ? 1 : 0;
      return `M${at(outer, start)}A${outer} ${outer} 0 ${large} 1 ${at(outer, end)}` +
        `L${at(inner, end)}A${inner} ${inner} 0 ${large} 0 ${at(inner, start)}z`;
    }
    function draw([from, to]) {
      const turn = (at) => Math.min(1, Math.max(0, (at - from) / (to - from)));
      for (const each of slices) {
        const start = turn(each.start), end = turn(each.end);
        each.element.toggleAttribute("hidden", end - start < 1e-4);
        const [inner, outer] = edges.slice(each.depth, each.depth + 2);
        each.path.setAttribute("d", ring(start, end, inner, outer));
        const middle = (start + end) / 2, radius = (inner + outer) / 2;
        each.label.classList.toggle("off", (end - start) * TURN * radius < 12);
        // A whole ring carries its label where it can be read without turning the head.
        const whole = end - start > 0.99;
        const angle = whole ? 0 : 360 * middle - (middle < 0.5 ? 90 : -90);
        const x = whole ? 0 : radius * Math.sin(TURN * middle);
        const y = whole ? -radius : -radius * Math.cos(TURN * middle);
        each.label.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)}) rotate(${angle.toFixed(1)})`);
      }
    }
    function move(target) {
      const start = view, begun = performance.now(), run = ++running;
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      if (calm || (start[0] === target[0] && start[1] === target[1])) return draw((view = target));
      const step = (now) => {
        if (run !== running) return;
        const done = Math.min(1, Math.max(0, (now - begun) / 250)), ease = done * (2 - done);
        draw((view = start.map((value, n) => value + (target[n] - value) * ease)));
        if (done < 1) requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    }
    function choose(id) {
      chosen = slices.find((each) => each.id === id) ?? null;
      for (const each of slices) {
        if (each === chosen) each.element.setAttribute("aria-current", "true");
        else each.element.removeAttribute("aria-current");
      }
      // A term without narrower ones shows among its sisters.
      let whole = chosen;
      while (whole && !slices.some((each) => inside(each, whole)))
        whole = slices.find((each) => each.depth === whole.depth - 1 && inside(whole, each)) ?? null;
      move(whole ? [whole.start, whole.end] : [0, 1]);
      big.textContent = chosen ? chosen.count : all;
      tell();
    }
    function tell() {
      if (!chosen) {
        panel.replaceChildren("Choose a term to zoom into it and to see its entries.");
        return;
      }
      const entries = chosen.kinds.map(([kind, count]) => make("a", {
        href: `${figure.dataset.explorer}?kind=${kind}&${figure.dataset.key}=${chosen.id}`,
        textContent: `Show ${count} ${count === "1" ? kind : `${kind}s`}` }));
      const back = make("button", { type: "button", textContent: "Whole facet" });
      back.addEventListener("click", () => go("", true));
      const page = make("a", { href: chosen.element.href.baseVal, textContent: "Page of the term" });
      panel.replaceChildren(make("strong", { textContent: chosen.name }), make("br"),
        ...(entries.length ? entries : ["No entries yet."]), page, back);
    }
    function go(id, focus) {
      const former = chosen;
      history.replaceState(null, "", `#${facet}${id ? `/${id}` : ""}`);
      choose(id);
      if (focus) (former?.element ?? slices[0].element).focus();
    }
    svg.addEventListener("click", (event) => {
      const slice = slices.find((each) => each.element === event.target.closest(".slice"));
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      if (!slice) return chosen && go(""); // the middle leads back
      event.preventDefault();
      go(chosen === slice ? "" : slice.id);
    });
    figure.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && chosen) go("", true);
    });
    tell();
    return choose;
  }

  if (views.length) {
    for (const view of views) {
      const figure = view.querySelector(".facet-picture");
      const facet = view.querySelector("h2").id;
      if (figure) charts.set(facet, sunburst(figure, facet));
    }
    addEventListener("hashchange", () => show(true));
    show(false);
  }

  // --- matrices ---------------------------------------------------------------------------------
  for (const table of document.querySelectorAll(".sortable table.matrix")) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.querySelectorAll('th[scope="col"]')];
    const value = (row, column) => {
      const text = row.cells[column].textContent;
      return text === "·" ? 0.5 : Number(text);
    };
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", textContent: "↕" });
      button.setAttribute("aria-label", `Sort by ${head.textContent}`);
      head.firstElementChild ? head.firstElementChild.append(" ", button) : head.append(" ", button);
      button.addEventListener("click", () => {
        const name = column === 0;
        // Numbers come with the highest first, names from A.
        const up = name === (head.getAttribute("aria-sort") !== (name ? "ascending" : "descending"));
        for (const other of heads) {
          other.removeAttribute("aria-sort");
          other.querySelector("button").textContent = "↕";
        }
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        button.textContent = up ? "↑" : "↓";
        const names = (a, b) => a.cells[0].textContent.localeCompare(b.cells[0].textContent, "en");
        const order = name ? names : (a, b) => value(a, column) - value(b, column);
        const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * order(a, b) || names(a, b));
        body.append(...rows);
      });
    });
  }
})();
