// Keeps the page as it is on the server: told of a change, it fetches the page anew and puts its content in place of the old.
// What is unfolded stays unfolded, and the focus stays where it is. Without this script the page loads itself anew.
"use strict";

(() => {
  const said = document.querySelector("[data-live]");
  if (!said || !window.EventSource) return;
  const MINIMUM = 1000, POLL = 15000, PATIENCE = 10000, QUIET = 10000;
  let fetching = false, wanted = false, next = Date.now() + MINIMUM, lost = 0;

  const tell = (text, old = false) => {
    document.body.classList.toggle("stale", old);
    if (said.textContent !== text) said.textContent = text;
  };
  const tellWhetherLive = () => tell(events.readyState === EventSource.OPEN ? "Live" : `Loads itself anew every ${POLL / 1000} s`);
  const tellOld = (why) => tell(`${why}: what is shown is of ${document.querySelector(".clock time").textContent}`, true);
  const key = (element) => element.id || element.dataset.key || "";
  const likes = (element) => [...document.querySelectorAll(`main ${element.tagName}`)].filter(
    (each) => each.textContent === element.textContent && each.getAttribute("href") === element.getAttribute("href"));

  // Whoever marks a command to copy it, or chooses from a list, is not to lose it.
  const busy = () => {
    const [main, marked] = [document.querySelector("main"), getSelection()];
    return document.activeElement instanceof HTMLSelectElement ||
      Boolean(main && marked && !marked.isCollapsed && main.contains(marked.anchorNode));
  };

  const put = (fresh) => {
    const open = new Map([...document.querySelectorAll("main details")].map((each) => [key(each), each.open]));
    const active = document.activeElement, focused = active && active.closest("main") ? active : null;
    const place = focused && !focused.id ? likes(focused).indexOf(focused) : 0;
    const field = focused instanceof HTMLInputElement && focused.id ? { value: focused.value, at: focused.selectionStart } : null;
    document.title = fresh.title;
    document.body.className = fresh.body.className;
    for (const name of ["main", ".clock time", "link[rel=icon]"]) {
      const [old, replacement] = [document.querySelector(name), fresh.querySelector(name)];
      if (old && replacement) old.replaceWith(document.importNode(replacement, true));
    }
    for (const each of document.querySelectorAll("main details")) {
      if (key(each) && open.has(key(each))) each.open = open.get(key(each));
    }
    const again = focused && (focused.id ? document.getElementById(focused.id) : likes(focused)[place]);
    if (again) again.focus({ preventScroll: true });
    if (field && again instanceof HTMLInputElement) { again.value = field.value; again.setSelectionRange(field.at, field.at); }
  };

  const fetchOnce = async () => {
    const began = Date.now();
    try {
      const signal = AbortSignal.timeout(PATIENCE);
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", signal });
      const text = await answer.text();
      if (!answer.ok) tellOld(answer.status === 404 ? "This is not watched any more" : `The exporter answers ${answer.status}`);
      else if (busy()) tellOld("Waits while you mark or choose");
      else { put(new DOMParser().parseFromString(text, "text/html")); tellWhetherLive(); }
    } catch {
      tellOld("The exporter does not answer");
    }
    next = began + Math.max(MINIMUM, 10 * (Date.now() - began)); // an exporter that is slow is not to be kept busy by readers
  };

  // What nobody looks at is not fetched: a tab that was forgotten costs the exporter nothing.
  const fetchAnew = async () => {
    wanted = true;
    if (fetching) return;
    fetching = true;
    while (wanted && document.visibilityState === "visible") {
      wanted = false;
      await new Promise((go) => setTimeout(go, Math.max(0, next - Date.now())));
      await fetchOnce();
    }
    fetching = false;
  };

  let events;
  const listen = () => {
    events = new EventSource("/events");
    events.addEventListener("open", () => {
      if (lost) fetchAnew(); // of a change meanwhile nobody has told
      else tell("Live");
      lost = 0;
    });
    events.addEventListener("change", fetchAnew);
    events.addEventListener("error", () => { lost ||= Date.now(); });
  };
  listen();
  setInterval(() => {
    if (events.readyState === EventSource.CLOSED) listen(); // as it is once it was refused; a browser tries no more then
    if (lost && Date.now() - lost > QUIET) fetchAnew();
  }, QUIET);
  setInterval(fetchAnew, POLL);
  document.addEventListener("visibilitychange", fetchAnew);
  addEventListener("pagehide", () => events.close());
  addEventListener("pageshow", (shown) => { if (shown.persisted) { listen(); fetchAnew(); } });
})();
