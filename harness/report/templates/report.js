"use strict";
(() => {
  const root = document.documentElement;
  const buttons = document.querySelectorAll("[data-lang]");

  const spoken = document.querySelectorAll("[data-ko]");

  // Options, the title and the count of shown models cannot hold both languages as elements.
  const say = (node) => {
    node.textContent = node.dataset[root.lang].replace(/\{(shown|total)\}/g, (hole, name) => node.dataset[name] ?? hole);
  };
  const speak = (lang) => {
    root.lang = lang;
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.lang === lang)));
    spoken.forEach(say);
  };
  buttons.forEach((button) => button.addEventListener("click", () => speak(button.dataset.lang)));
  const asked = location.hash.slice(1);
  speak(asked === "ko" || asked === "en" ? asked : root.lang);

  const themes = document.querySelectorAll("button[data-theme]");
  themes.forEach((button) => button.addEventListener("click", () => {
    root.dataset.theme = button.dataset.theme;
    themes.forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
  }));

  const key = (row, column) => {
    const cell = row.cells[column];
    if (!cell || cell.classList.contains("absent")) return "";
    const text = cell.dataset.v ?? (cell.querySelector(`:scope > [lang="${root.lang}"]`) ?? cell).textContent.trim();
    return text === "–" ? "" : text;
  };
  // `−1.2 [−3, 0.5]`, `12.00 %` and `< 0.001` are sorted by their number.
  const number = (text) => {
    const found = /^(?:< )?([−-]?[\d,]*\.?\d+)(?![^\s])/.exec(text);
    return found ? Number(found[1].replace("−", "-").replaceAll(",", "")) : Number(text);
  };
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = [number(a), number(b)];
    return numbers.some(Number.isNaN) ? a.localeCompare(b) : numbers[0] - numbers[1];
  };

  document.querySelectorAll("table.sortable").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const first = head.dataset.first ?? "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const next = now === first ? other : first;
        const sign = next === "ascending" ? 1 : -1;
        heads.forEach((each) => each.hasAttribute("aria-sort") && each.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", next);
        // Lists stay apart, their titles on top.
        [...table.tBodies].forEach((body) => {
          const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
          rows.sort((a, b) => {
            const [left, right] = [key(a, column), key(b, column)];
            const order = compare(left, right);
            // What was not measured stays below, whichever way the column is sorted.
            return left === "" || right === "" ? order : sign * order;
          });
          body.append(...rows);
        });
      });
    });
  });

  const bar = document.querySelector(".filter");
  if (bar) {
    const fields = [...bar.querySelectorAll("input, select")];
    const count = bar.querySelector("output");
    const models = [...document.querySelectorAll("tr[data-list]")].map((row) => ({
      ...row.dataset,
      text: row.textContent.toLowerCase(),
    }));
    const wanted = (model) => fields.every(({ value, dataset: { filter } }) => (
      filter === "text"
        ? value.toLowerCase().split(/\s+/).every((word) => model.text.includes(word))
        : !value || model[filter] === value
    ));
    const filter = () => {
      const shown = new Set(models.filter(wanted).map(({ model }) => model));
      const known = new Set(models.map(({ model }) => model));
      document.querySelectorAll("[data-model]").forEach((node) => {
        node.hidden = known.has(node.dataset.model) && !shown.has(node.dataset.model);
      });
      document.querySelectorAll("[data-block]").forEach((block) => {
        block.hidden = !block.querySelector("[data-model]:not([hidden])");
      });
      count.dataset.shown = shown.size;
      say(count);
    };
    fields.forEach((field) => field.addEventListener("input", filter));
    bar.querySelector("button").addEventListener("click", () => {
      fields.forEach((field) => { field.value = ""; });
      filter();
    });
    bar.hidden = false;
    filter();
  }

  // Everything is printed; what was closed is closed again.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((each) => { each.open = false; }));
})();
