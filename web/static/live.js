// SPDX-License-Identifier: AGPL-3.0-or-later
// What a page without JavaScript does by reloading: phases, elapsed times and log tails that go on
// by themselves, from the page's JSON twin; and a line's link opens the folded section that holds it.
"use strict";

const part = (root, name) => root.querySelector(`[data-${name}]`);

const say = (element, text) => {
  if (element && element.textContent !== text) element.textContent = text;
};

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (number) => String(number).padStart(2, "0");
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  if (whole >= 60) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${whole} s`;
}

const label = (phase) => (phase.test ? `${phase.phase} ${phase.test}` : phase.phase);

function showTail(element, text) {
  if (!element || text === undefined || element.textContent === text) return;
  keepAtEnd(element, () => { element.textContent = text; });
}

// who reads the newest lines goes on doing so; who has scrolled back stays there
function keepAtEnd(element, change) {
  const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
  change();
  if (atEnd) element.scrollTop = element.scrollHeight;
}

function showPhases(list, phases, now) {
  if (!list) return;
  list.replaceChildren(...phases.map((phase) => {
    const [item, name, time] = ["li", "span", "span"].map((tag) => document.createElement(tag));
    name.textContent = label(phase);
    time.className = "number";
    time.textContent = phase.seconds === null ? `${duration(now - phase.started)} so far` : duration(phase.seconds);
    item.append(name, " ", time);
    return item;
  }));
}

function show(element, request, now) {
  const running = request.state === "running";
  const phase = request.phases.at(-1);
  if (running) say(part(element, "phase"), phase ? label(phase) : "starting");
  const since = (running ? request.taken : request.accepted) ?? request.updated;
  say(part(element, "elapsed"), duration(now - since));
  showTail(part(element, "tail"), request.log_tail);
  showPhases(part(element, "phases"), request.phases, now);
}

// which requests a page shows in which state; when the twin tells otherwise, the page is loaded anew
const shownForm = (area) =>
  Array.from(area.querySelectorAll("[data-state]"), (item) => `${item.dataset.request} ${item.dataset.state}`).join();
const twinForm = (requests) => requests.map((request) => `${request.request_id} ${request.state}`).join();

function follow(area) {
  const pause = 1000 * Number(area.dataset.every);
  let failures = 0;
  const lost = (yes) => area.querySelectorAll("[data-lost]").forEach((note) => { note.hidden = !yes; });

  async function look() {
    if (document.hidden) return;
    // an ended request's page leads to the result as soon as there is one
    if (area.querySelector("[data-state=done]")) return location.reload();
    const response = await fetch(area.dataset.twin, { cache: "no-store" });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const now = Date.parse(response.headers.get("Date")) / 1000 || Date.now() / 1000;
    const twin = await response.json();
    const requests = twin.requests ?? (twin.running ? [...twin.running, ...twin.queued] : [twin]);
    lost(false);
    failures = 0;
    if (shownForm(area) !== twinForm(requests)) return location.reload();
    for (const request of requests) {
      const element = area.querySelector(`[data-request="${CSS.escape(request.request_id)}"]`);
      if (element) show(element, request, now);
    }
  }

  async function again() {
    try {
      await look();
    } catch {
      failures += 1;
      lost(failures > 1);
    }
    setTimeout(again, Math.min(30000, pause * 2 ** Math.min(failures, 5)));
  }
  setTimeout(again, pause);
}

function openTarget() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const section = target && target.closest("details");
  if (section && !section.open) {
    section.open = true;
    target.scrollIntoView();
  }
}

document.querySelectorAll("[data-twin]").forEach(follow);
document.querySelectorAll("[data-tail]").forEach((tail) => { tail.scrollTop = tail.scrollHeight; });
addEventListener("hashchange", openTarget);
openTarget();
