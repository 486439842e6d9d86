// SPDX-License-Identifier: AGPL-3.0-or-later
// A running request's page goes on by itself: state, phases and log come as server-sent events, or, where
// these do not get through, by asking for JSON. The place that was read to is named, so nothing comes twice.
"use strict";

const LONGEST_LINE = 4000;
const LONGEST_LOG = 2 ** 20;
const ANSI = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\^-~])/g;

// as web/log.py does it: no colour codes, of a progress display the last state, pictures of control characters
function plainLine(line) {
  const shown = line.slice(-50 * LONGEST_LINE).replace(ANSI, "").replace(/\r+$/, "");
  return shown.slice(shown.lastIndexOf("\r") + 1)
    .replace(/[\x00-\x08\x0a-\x1f]/g, (control) => String.fromCharCode(0x2400 + control.charCodeAt(0)))
    .replace(/\x7f/g, "\u2421").replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd").slice(0, LONGEST_LINE);
}

// whole lines, and the one that has no end yet, which is drawn anew when it grows
function logView(element) {
  const whole = element ? document.createTextNode("") : null;
  const open = element ? document.createTextNode("") : null;
  let rest = "";
  const view = {
    clear(text) {
      const end = text.lastIndexOf("\n") + 1;
      [whole.data, rest] = [text.slice(0, end), text.slice(end)];
      open.data = plainLine(rest);
    },
    add(text) {
      keepAtEnd(element, () => {
        const lines = (rest + text).split("\n");
        rest = lines.pop();
        if (rest.length > 50 * LONGEST_LINE) lines.push(rest), rest = "";
        if (lines.length) whole.appendData(`${lines.map(plainLine).join("\n")}\n`);
        if (whole.length > LONGEST_LOG) whole.deleteData(0, whole.data.indexOf("\n", whole.length - LONGEST_LOG) + 1);
        open.data = plainLine(rest);
      });
    },
  };
  if (!element) return { clear() {}, add() {} };
  const before = element.textContent;
  element.replaceChildren(whole, open);
  view.clear(before);
  return view;
}

function followLog(area) {
  const log = logView(part(area, "tail"));
  const place = { attempt: Number(area.dataset.attempt), offset: Number(area.dataset.offset) };
  let request = null;
  let behind = 0; // of this clock against the site's, in seconds
  let source = null;
  let silence = 0;
  let failures = 0;
  let asking = false;

  const lost = (yes) => area.querySelectorAll("[data-lost]").forEach((note) => { note.hidden = !yes; });
  const address = (form) => `${area.dataset.live}.${form}?attempt=${place.attempt}&offset=${place.offset}`;

  function alive() {
    failures = 0;
    lost(false);
    clearTimeout(silence);
    silence = setTimeout(insteadAsk, 25000);
  }

  function onState(told) {
    request = told;
    behind = told.now - Date.now() / 1000;
    if (shownForm(area) !== twinForm([told])) location.reload();
    else draw();
  }

  function onLog(piece) {
    if (piece.attempt !== place.attempt) {
      log.clear(place.attempt ? "… the log begins anew: the next attempt …\n" : "");
      Object.assign(place, { attempt: piece.attempt, offset: 0 });
    }
    if (piece.end <= place.offset) return;
    place.offset = piece.end;
    log.add(piece.text);
  }

  function draw() {
    if (request) show(area, request, Date.now() / 1000 + behind);
  }

  function listen() {
    close();
    if (!window.EventSource) return insteadAsk();
    const stream = source = new EventSource(address("events"));
    const on = (name, act) => stream.addEventListener(name, (event) => {
      if (stream !== source) return;
      alive();
      act(JSON.parse(event.data));
    });
    on("state", onState);
    on("log", onLog);
    on("beat", () => {});
    on("end", () => { close(); location.reload(); });
    stream.onerror = () => {
      failures += 1;
      lost(failures > 1);
      if (stream === source && (stream.readyState === EventSource.CLOSED || failures > 5)) insteadAsk();
    };
    clearTimeout(silence);
    silence = setTimeout(insteadAsk, 15000);
  }

  function close() {
    clearTimeout(silence);
    if (source) source.close();
    source = null;
  }

  // a while of asking, then the stream is tried again
  async function insteadAsk() {
    close();
    if (asking) return;
    asking = true;
    for (let times = 0; times < 15 && !document.hidden; times += 1) {
      try {
        const response = await fetch(address("json"), { cache: "no-store" });
        if (!response.ok) throw new Error(`status ${response.status}`);
        const answer = await response.json();
        failures = 0;
        lost(false);
        onState(answer.request);
        answer.pieces.forEach(onLog);
        if (answer.over) return location.reload();
      } catch {
        failures += 1;
        lost(failures > 1);
      }
      await new Promise((after) => { setTimeout(after, Math.min(20000, 1500 * 2 ** Math.min(failures, 4))); });
    }
    asking = false;
    if (!document.hidden) listen();
  }

  // a browser has few connections to a site: pages that nobody sees use none
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else if (!source && !asking) listen();
  });
  setInterval(draw, 1000);
  if (!document.hidden) listen();
}

document.querySelectorAll("[data-live]").forEach(followLog);
