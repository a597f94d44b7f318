"use strict";
(() => {
  const root = document.documentElement;
  const buttons = document.querySelectorAll("[data-lang]");

  const speak = (lang) => {
    root.lang = lang;
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.lang === lang)));
  };
  buttons.forEach((button) => button.addEventListener("click", () => speak(button.dataset.lang)));
  const asked = location.hash.slice(1);
  speak(asked === "ko" || asked === "en" ? asked : root.lang);

  const key = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = [Number(a), Number(b)];
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
        const body = table.tBodies[0];
        const rows = [...body.rows].sort((a, b) => {
          const [left, right] = [key(a, column), key(b, column)];
          const order = compare(left, right);
          // What was not measured stays below, whichever way the column is sorted.
          return left === "" || right === "" ? order : sign * order;
        });
        body.append(...rows);
      });
    });
  });

  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
})();
