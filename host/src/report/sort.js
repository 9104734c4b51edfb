"use strict";
const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();

function sort(table, column, header) {
  const descending = header.ariaSort === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.ariaSort = descending ? "descending" : "ascending";
  const order = (a, b) => value(a, column).localeCompare(value(b, column), "en", { numeric: true });
  const numeric = (a, b) => parseFloat(value(a, column)) - parseFloat(value(b, column));
  const rows = [...table.tBodies[0].rows].sort((a, b) => numeric(a, b) || order(a, b));
  table.tBodies[0].append(...(descending ? rows.reverse() : rows));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, column, header));
    header.append(button);
  });
}
