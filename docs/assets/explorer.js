/* The explorer. The page holds all rows; this script hides those that do not fit, counts what each
   filter would leave, and keeps what was chosen in the address. Rows name the numbers of their
   filters (data-n), so that a row is tested with a few bit operations. */
"use strict";
(() => {
  const root = document.querySelector(".explorer");
  if (!root) return;
  const site = new URL("..", document.currentScript.src);
  const STEP = 50; // rows put on screen at a time; explorer.css knows it
  const form = root.querySelector(".explorer-tools");
  const box = root.querySelector(".explorer-box");
  const table = root.querySelector("table.entries");
  const body = table.tBodies[0];
  const status = form.querySelector("output");
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

  // --- what the page holds ---------------------------------------------------------------------
  const choices = [];
  const groups = [...form.querySelectorAll("[data-key]")].map((element) => {
    const group = { element, ...element.dataset, choices: [] };
    for (const button of element.querySelectorAll("button[data-n]")) {
      const choice = { button, group, id: button.dataset.id, n: Number(button.dataset.n), state: 0,
        label: button.firstChild.data.trim(), count: button.querySelector(".count") };
      group.choices.push(choice);
      choices[choice.n] = choice;
    }
    return group;
  });
  const width = Math.ceil(choices.length / 32);
  const bits = (numbers) => {
    const set = new Uint32Array(width);
    for (const n of numbers) set[n >> 5] |= 1 << (n & 31);
    return set;
  };
  const heads = [...table.tHead.rows[0].cells];
  const columns = heads.map((head, place) => ({
    place, head, key: head.dataset.key, label: head.textContent, texts: null,
    kinds: head.dataset.default.split(" "),
    box: form.querySelector(`input[name=column][value="${head.dataset.key}"]`),
  }));
  const yearColumn = columns.find((column) => column.key === "year").place;
  const rows = [...body.rows].map((tr, place) => {
    const numbers = tr.dataset.n.split(" ").map(Number);
    return { tr, place, numbers, bits: bits(numbers), ref: tr.dataset.ref, shown: !tr.hidden,
      year: Number(tr.cells[yearColumn].textContent),
      text: plain(`${tr.textContent} ${tr.dataset.also}`) };
  });
  const fields = { text: form.elements.text, from: form.elements.from, to: form.elements.to };
  const years = rows.map((row) => row.year);
  for (const name of ["from", "to"]) {
    fields[name].min = Math.min(...years);
    fields[name].max = Math.max(...years);
  }

  let sorted = { key: "", up: true };
  let own = null; // keys of the columns that the reader chose; null: those of the kind
  let order = rows, fitting = rows, limit = STEP, unknown = [];

  // --- the address ------------------------------------------------------------------------------
  function read() {
    const given = new URLSearchParams(location.search);
    const list = (...names) => names.flatMap((name) => given.getAll(name))
      .flatMap((value) => value.split(",")).map((value) => value.trim()).filter(Boolean);
    unknown = [];
    for (const group of groups) {
      for (const choice of group.choices) choice.state = 0;
      const names = group.facet && group.facet !== group.key ? [group.key, group.facet] : [group.key];
      for (const word of list(...names)) {
        const id = word.replace(/^!/, "");
        const choice = group.choices.find((each) => each.id === id)
          ?? (group.mode === "one" && group.choices.find((each) => `${each.id}s` === id));
        if (!choice) unknown.push(`${group.key}=${word}`);
        else {
          if (group.mode === "one") for (const other of group.choices) other.state = 0;
          choice.state = word.startsWith("!") && group.mode !== "one" ? -1 : 1;
        }
      }
      if (group.element.tagName === "DETAILS" && group.choices.some((each) => each.state))
        group.element.open = true;
    }
    for (const [name, field] of Object.entries(fields)) field.value = given.get(name) ?? "";
    const wanted = given.get("sort") ?? "";
    const key = wanted.replace(/^-/, "");
    const known = columns.some((column) => column.key === key);
    if (key && !known) unknown.push(`sort=${wanted}`);
    sorted = { key: known ? key : "", up: !wanted.startsWith("-") };
    own = given.has("columns") ? new Set(["name", ...list("columns")]) : null;
  }

  function write(replace) {
    const now = new URLSearchParams();
    for (const group of groups) {
      const words = group.choices.filter((each) => each.state)
        .map((each) => (each.state < 0 ? "!" : "") + each.id);
      if (words.length) now.set(group.key, words.join(","));
    }
    for (const [name, field] of Object.entries(fields))
      if (field.value.trim()) now.set(name, field.value.trim());
    if (sorted.key) now.set("sort", (sorted.up ? "" : "-") + sorted.key);
    if (own) now.set("columns", [...own].filter((key) => key !== "name").join(","));
    const query = now.toString().replaceAll("%2C", ",").replaceAll("%21", "!");
    const address = location.pathname + (query ? `?${query}` : "") + location.hash;
    if (address === location.pathname + location.search + location.hash) return;
    history[replace ? "replaceState" : "pushState"](null, "", address);
  }

  // --- filters ----------------------------------------------------------------------------------
  /* Rows that fit, and for every choice how many would stay: those that fit all other groups (for
     groups of which all must hold, those that fit now). */
  function filter() {
    const active = groups.map((group) => {
      const of = (state) => group.choices.filter((each) => each.state === state).map((each) => each.n);
      const yes = of(1), no = of(-1);
      return { group, yes: yes.length ? bits(yes) : null, no: no.length ? bits(no) : null };
    }).filter((each) => each.yes || each.no);
    const words = plain(fields.text.value).split(/\s+/).filter(Boolean);
    const from = Number(fields.from.value) || 0, to = Number(fields.to.value) || 9999;
    const counts = new Uint32Array(choices.length);
    fitting = [];
    for (const row of order) {
      if (row.year < from || row.year > to) continue;
      if (!words.every((word) => row.text.includes(word))) continue;
      let failed = null, failures = 0;
      for (const { group, yes, no } of active) {
        let some = false, every = true, out = false;
        for (let w = 0; w < width; w++) {
          if (yes && row.bits[w] & yes[w]) some = true;
          if (yes && (row.bits[w] & yes[w]) >>> 0 !== yes[w]) every = false;
          if (no && row.bits[w] & no[w]) out = true;
        }
        if (out || (yes && !(group.mode === "all" ? every : some))) {
          failed = group;
          if (++failures > 1) break;
        }
      }
      if (!failures) {
        fitting.push(row);
        for (const n of row.numbers) counts[n]++;
      } else if (failures === 1 && failed.mode !== "all") {
        for (const n of row.numbers) if (choices[n].group === failed) counts[n]++;
      }
    }
    return counts;
  }

  // --- the page ---------------------------------------------------------------------------------
  function reveal() {
    const wanted = new Set(fitting.slice(0, limit));
    for (const row of rows) {
      const shown = wanted.has(row);
      if (shown !== row.shown) row.tr.hidden = !(row.shown = shown);
    }
    more.hidden = fitting.length <= limit;
  }

  function label(choice, count) {
    const { button, state } = choice;
    const text = String(count);
    if (choice.count.textContent !== text) choice.count.textContent = text;
    const pressed = String(state !== 0);
    if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
    const first = (state < 0 ? "not " : "") + choice.label + " ";
    if (button.firstChild.data !== first) button.firstChild.data = first;
    button.classList.toggle("not", state < 0);
    const hide = !count && !state && choice.group.mode === "any" && button !== document.activeElement;
    if (button.hidden !== hide) button.hidden = hide;
    return !hide;
  }

  const hiding = document.head.appendChild(make("style", {}));
  let hidden = "";
  function chooseColumns() {
    const kind = choices.find((each) => each.group.key === "kind" && each.state)?.id ?? "all";
    const rules = [];
    for (const column of columns) {
      column.shown = own ? own.has(column.key) : column.kinds.includes(kind);
      if (column.box) column.box.checked = column.shown;
      if (!column.shown) rules.push(`.explorer tr > :nth-child(${column.place + 1})`);
    }
    const text = rules.length ? `${rules.join(",")} { display: none; }` : "";
    if (text !== hidden) hiding.textContent = hidden = text;
  }

  let inOrder = "";
  const collator = new Intl.Collator("en", { numeric: true });
  const cellText = (row, column) => {
    const cell = row.tr.cells[column.place];
    const parts = [...cell.querySelectorAll(".chip, .badge")];
    return parts.length ? parts.map((each) => each.textContent).join("; ") : cell.textContent;
  };
  /* What is called so comes first, then what is only spoken of. */
  function ranked(query) {
    const rank = (row) => {
      row.name ??= plain(row.tr.cells[0].textContent).trim();
      return row.name === query ? 0 : row.name.startsWith(query) ? 1 : row.name.includes(query) ? 2 : 3;
    };
    const ranks = new Map(rows.map((row) => [row, rank(row)]));
    return [...rows].sort((a, b) => ranks.get(a) - ranks.get(b));
  }
  function sort() {
    const query = sorted.key ? "" : plain(fields.text.value).trim();
    const name = sorted.key ? (sorted.up ? "" : "-") + sorted.key : query && `?${query}`;
    if (name === inOrder) return;
    inOrder = name;
    const column = columns.find((each) => each.key === sorted.key);
    for (const each of columns) each.head.removeAttribute("aria-sort");
    if (!column) order = query ? ranked(query) : rows;
    else {
      column.head.setAttribute("aria-sort", sorted.up ? "ascending" : "descending");
      column.texts ??= new Map(rows.map((row) => [row, cellText(row, column).trim()]));
      const of = (row) => column.texts.get(row);
      const turn = sorted.up ? 1 : -1;
      // Cells without a text stay last either way.
      order = [...rows.filter(of).sort((a, b) => turn * collator.compare(of(a), of(b))),
        ...rows.filter((row) => !of(row))];
    }
    body.append(...order.map((row) => row.tr));
  }

  const chosen = form.querySelector(".chosen");
  function update(keep) {
    if (!keep) limit = STEP;
    sort();
    chooseColumns();
    const counts = filter();
    reveal();
    for (const group of groups) {
      let some = false;
      for (const choice of group.choices) some = label(choice, counts[choice.n]) || some;
      if (group.mode === "any") group.element.hidden = !some;
    }
    const note = unknown.length ? ` Not known here: ${unknown.join(", ")}.` : "";
    status.textContent = `${fitting.length} of ${rows.length} entries.${note}`;
    chosen.replaceChildren(...choices.filter((each) => each.state && each.group.mode === "any")
      .map((choice) => {
        const text = (choice.state < 0 ? "not " : "") + choice.label;
        const button = make("button", { type: "button", textContent: `${text} ×`, choice });
        button.setAttribute("aria-label", `Remove ${text}`);
        const item = make("li", {});
        item.append(button);
        return item;
      }));
    if (!keep) box.scrollTop = 0;
  }

  function toggle(choice, exclude) {
    const { group } = choice;
    const state = exclude && group.mode !== "one" ? -1 : 1;
    const next = choice.state === state ? 0 : state;
    if (group.mode === "one") for (const other of group.choices) other.state = 0;
    choice.state = next;
  }

  // --- more rows --------------------------------------------------------------------------------
  const more = make("button", { type: "button", className: "more", textContent: `Show ${STEP} more` });
  box.append(more);
  const grow = (focus) => {
    const first = fitting[limit];
    limit += STEP;
    reveal();
    if (focus) first?.tr.querySelector("a")?.focus();
  };
  more.addEventListener("click", () => grow(true));
  new IntersectionObserver((seen) => seen[0].isIntersecting && !more.hidden && grow(false),
    { root: box, rootMargin: "600px" }).observe(more);

  // --- exports ----------------------------------------------------------------------------------
  async function text(path) {
    const answer = await fetch(new URL(path, site));
    if (!answer.ok) throw new Error(`${path} could not be read (${answer.status}).`);
    return answer.text();
  }
  const makers = {
    async bib() {
      const found = new Map((await text("atlas.bib")).split(/^(?=@)/m)
        .map((entry) => [entry.slice(entry.indexOf("{") + 1, entry.indexOf(",")), entry.trim()]));
      const ids = new Set(fitting.map((row) => row.tr.dataset.paper));
      return [...ids].map((id) => found.get(id)).filter(Boolean).join("\n\n") + "\n";
    },
    async json() {
      const kinds = [...new Set(fitting.map((row) => row.ref.split(":")[0]))];
      const files = await Promise.all(kinds.map((kind) => text(`api/${kind}s.json`)));
      const found = new Map(files.flatMap((file) => JSON.parse(file).entries)
        .map((entry) => [entry.ref, entry]));
      return JSON.stringify(fitting.map((row) => found.get(row.ref)), null, 2) + "\n";
    },
    async csv() {
      const shown = columns.filter((column) => column.shown);
      // What a spreadsheet would run as a formula gets an apostrophe, as in mmalign's own CSV.
      const plainly = (value) => /^[=+\-@\t\n\uff1d\uff0b\uff0d\uff20]/.test(value) && !Number.isFinite(Number(value))
        ? `'${value}` : value;
      const quote = (value) => /[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
      const line = (values) => values.map((value) => quote(plainly(value.trim()))).join(",") + "\n";
      return line(["ref", ...shown.map((column) => column.key)]) + fitting.map((row) =>
        line([row.ref, ...shown.map((column) => cellText(row, column))])).join("");
    },
  };
  async function save(format) {
    try {
      const blob = new Blob([await makers[format]()], { type: "text/plain;charset=utf-8" });
      const link = make("a", { href: URL.createObjectURL(blob), download: `mmalign.${format}` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    } catch (error) {
      status.textContent = `No export: ${error.message}`;
    }
  }

  // --- what the reader does ---------------------------------------------------------------------
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.export) return void save(button.dataset.export);
    const choice = button.choice ?? choices[button.dataset.n];
    unknown = [];
    if (button.choice) choice.state = 0;
    else if (choice) toggle(choice, event.shiftKey);
    else if (button.dataset.do === "clear") {
      for (const each of choices) each.state = 0;
      for (const field of Object.values(fields)) field.value = "";
      sorted = { key: "", up: true };
      own = null;
    } else return;
    update();
    write(false);
    if (button.choice) (chosen.querySelector("button") ?? form.querySelector("[data-do]")).focus();
  });
  form.addEventListener("input", (event) => {
    if (event.target.name === "column") {
      own = new Set(columns.filter((c) => !c.box || c.box.checked).map((c) => c.key));
      update(true);
      return write(false);
    }
    unknown = [];
    update();
    write(true);
  });
  for (const column of columns) {
    const button = make("button", { type: "button", textContent: column.label });
    column.head.replaceChildren(button);
    button.addEventListener("click", () => {
      // Newest first; words from A. A second click turns round, a third goes back.
      const first = column.key !== "year";
      if (sorted.key !== column.key) sorted = { key: column.key, up: first };
      else sorted = sorted.up === first ? { key: column.key, up: !first } : { key: "", up: true };
      update();
      write(false);
    });
  }
  addEventListener("popstate", () => {
    read();
    update();
  });

  form.querySelector(".explorer-facets").open = matchMedia("(min-width: 60em)").matches;
  read();
  update();
  form.hidden = false;
  root.classList.add("ready");
})();
