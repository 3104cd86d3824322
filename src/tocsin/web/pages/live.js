// Asks for the page again while it is looked at, but not under somebody's hands. Pages are whole without it.
"use strict";

function changed(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.options) return [...field.options].some((o) => o.selected !== o.defaultSelected && field.options[0] !== o);
  return field.type !== "hidden" && field.value !== field.defaultValue;
}

function busy() {
  const main = document.getElementById("live"), at = document.activeElement;
  const typing = main.contains(at) && at.matches("input:not([type=checkbox]), select, textarea");
  const fields = [...main.querySelectorAll("input, select, textarea")];
  return document.hidden || typing || fields.some(changed) || main.querySelector("details[open] form") !== null;
}

const unfolded = () => [...document.querySelectorAll("#live details")];
let open = new Set();

document.addEventListener("htmx:beforeRequest", (event) => {
  if (busy()) event.preventDefault();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const answer = event.detail.xhr;
  if (busy()) event.detail.shouldSwap = false;
  // The session is over, or what was asked for is no such page any more: the page itself says so.
  else if (answer.status === 200 && !answer.responseText.includes('id="live"')) window.location.reload();
  open = new Set(unfolded().filter((d) => d.open).map((d) => d.querySelector("summary").textContent));
});
document.addEventListener("htmx:afterSwap", () => {
  for (const d of unfolded()) if (open.has(d.querySelector("summary").textContent)) d.open = true;
});

// j and k go through a list, enter opens, x chooses, / searches.
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const links = [...document.querySelectorAll("main table.list td.main a:first-of-type")];
  const row = document.activeElement.closest("tr"), at = links.findIndex((link) => row && row.contains(link));
  if (event.key === "j" || event.key === "k") {
    const next = links[Math.max(0, Math.min(links.length - 1, event.key === "j" ? at + 1 : at - 1))];
    if (next) next.focus();
  } else if (event.key === "x" && row) {
    const box = row.querySelector("input[type=checkbox]");
    if (box) box.click();
  } else if (event.key === "/") {
    const search = document.querySelector("main input[type=search]");
    if (search) search.focus();
    event.preventDefault();
  }
});
