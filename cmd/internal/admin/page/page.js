"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const small = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const plural = (n, one, many) => number.format(n) + " " + (n === 1 ? one : many);
  const rate = (n) => (n >= 10 || n === 0 ? number : small).format(n);

  // What has not changed is left alone: a screen reader would read it again,
  // and a selection would be lost.
  function text(node, value) {
    const el = typeof node === "string" ? $(node) : node;
    if (el.textContent !== value) el.textContent = value;
  }
  function show(id, yes) { $(id).hidden = !yes; }

  // make builds an element; strings among the children become text, never HTML.
  function make(tag, props, ...children) {
    const el = document.createElement(tag);
    Object.assign(el, props);
    el.append(...children);
    return el;
  }

  // list keeps one child of parent for each item, in the items' order. Children
  // are kept by key, so that the focus stays where it is.
  function list(parent, items, key, create, update) {
    const old = new Map();
    for (const el of parent.children) old.set(el.dataset.key, el);
    let next = parent.firstElementChild;
    for (const item of items) {
      const k = key(item);
      let el = old.get(k);
      if (el) old.delete(k);
      else {
        el = create(item);
        el.dataset.key = k;
      }
      update(el, item);
      if (el === next) next = next.nextElementSibling;
      else parent.insertBefore(el, next);
    }
    for (const el of old.values()) el.remove();
  }
  const row = (cells) => () => make("tr", {}, ...cells.map((name) =>
    name === "head" ? make("th", { scope: "row" }) : make("td", { className: name })));

  function seconds(s) {
    if (s === null || s === undefined) return "–";
    if (s < 0.001) return small.format(s * 1e6) + " µs";
    if (s < 1) return small.format(s * 1e3) + " ms";
    return small.format(s) + " s";
  }
  function bytes(n) {
    for (const unit of ["B", "KB", "MB"]) {
      if (n < 1000) return rate(n) + " " + unit;
      n /= 1000;
    }
    return rate(n) + " GB";
  }
  function ago(now, then) {
    const s = Math.max(0, Math.round((Date.parse(now) - Date.parse(then)) / 1000));
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min";
    if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
    return plural(Math.floor(s / 86400), "day", "days");
  }
  const clock = (t) => new Date(t).toLocaleTimeString([], { hour12: false });

  // say tells a screen reader what somebody who sees the page would notice.
  function say(message) { text("announce", message); }

  const stateWords = {
    starting: "Starting", ready: "Ready", draining: "Draining", drained: "Drained", stopping: "Stopping", lost: "No answer", locked: "Token needed",
  };
  const linkWords = { main: "Participants", rooms: "Main's rooms", visitors: "Visitors component", polls: "Polls", jicofo: "Jicofo" };
  let before = null; // the status shown last
  let lastState = "";

  function setState(state, why) {
    $("state").dataset.state = state;
    text("state-text", stateWords[state] || state);
    if (state !== lastState) {
      if (lastState) say("The node is " + (stateWords[state] || state).toLowerCase() + (why ? ": " + why : ""));
      lastState = state;
    }
  }

  function showStatus(s) {
    text("host", s.node.host);
    text("about", "up for " + ago(s.now, s.node.started) + " · " + s.node.version);
    setState(s.state, s.why);
    const notice = [s.why, s.trouble && "Some figures are missing: " + s.trouble].filter(Boolean).join(" · ");
    text("notice", notice);
    show("notice", notice !== "");

    text("visitors", number.format(s.visitors));
    text("queued", [s.queued && number.format(s.queued) + " waiting for main", s.held && number.format(s.held) + " held after a fault"].filter(Boolean).join(", "));
    text("rooms-count", number.format(s.roomCount));
    text("participants", plural(s.participants, "participant", "participants"));
    text("delivered", rate(s.rates.delivered) + "/s");
    text("bytes", bytes(s.rates.bytes) + "/s");
    showLatency(s.latency || []);
    showLinks(linksOf(s));
    showRooms(s);
    showSessions(s.sessions || []);
    showSlow(s);
    showCloses(s.closes || []);
    showControl(s);
    before = s;
  }

  function showLatency(points) {
    const values = points.map((p) => p.p99);
    const last = points.length ? points[points.length - 1] : { p50: null, p99: null };
    text("p99", seconds(last.p99));
    text("p50", last.p50 === null ? "no deliveries" : "median " + seconds(last.p50));
    const known = values.filter((v) => v !== null);
    const top = Math.max(0.001, ...known);
    const step = 240 / Math.max(1, 119);
    let line = "", area = "", start = null;
    values.forEach((v, i) => {
      const x = (240 - (values.length - 1 - i) * step).toFixed(1);
      const y = v === null ? null : (46 - v / top * 42).toFixed(1);
      if (y === null) {
        if (start !== null) area += `L${x} 48Z`;
        start = null;
        return;
      }
      line += (start === null ? "M" : "L") + x + " " + y;
      area += (start === null ? `M${x} 48L` : "L") + x + " " + y;
      start = x;
    });
    if (start !== null) area += "L240 48Z";
    $("spark-line").setAttribute("d", line);
    $("spark-area").setAttribute("d", area);
    $("spark").setAttribute("aria-label", known.length
      ? `Last two minutes: now ${seconds(last.p99)}, highest ${seconds(Math.max(...known))}` : "No deliveries in the last two minutes");
  }

  // linksOf is all that the node depends on: main, and jicofo.
  const linksOf = (s) => [...s.links || [], { name: "jicofo", to: "jicofo", up: s.focus.loggedIn, reason: s.focus.reason }];

  function showLinks(links) {
    const was = new Map((before ? linksOf(before) : []).map((l) => [l.name, l.up]));
    list($("links"), links, (l) => l.name,
      () => make("li", {}, make("span", { className: "mark" }), make("span"), make("small"), make("span", { className: "why" })),
      (el, l) => {
        const [mark, name, to, why] = el.children;
        el.className = l.up ? "" : "down";
        text(mark, l.up ? "Up" : "Down");
        text(name, linkWords[l.name] || l.name);
        text(to, l.to);
        text(why, l.up ? "" : l.reason || "not opened yet");
        if (was.has(l.name) && was.get(l.name) !== l.up) {
          say("The stream to " + l.to + " is " + (l.up ? "up again" : "down: " + l.reason));
        }
      });
  }

  const roomHref = (address) => "#room=" + encodeURIComponent(address);

  function showRooms(s) {
    const rooms = s.rooms || [];
    list($("rooms"), rooms, (r) => r.address,
      (r) => {
        const el = row(["head", "", "n", "n", "n"])();
        el.children[0].append(make("a", { href: roomHref(r.address) }), make("small"));
        el.children[1].append(make("span"));
        el.children[2].append(make("span"), make("small"));
        return el;
      },
      (el, r) => {
        const [head, state, visitors, participants, published] = el.children;
        text(head.firstChild, r.name.split("@")[0]);
        text(head.lastChild, "for " + ago(s.now, r.made));
        state.firstChild.className = r.state === "connected" ? "tag" : "tag warn";
        text(state.firstChild, r.state);
        text(visitors.firstChild, number.format(r.visitors));
        text(visitors.lastChild, [r.queued && number.format(r.queued) + " waiting", r.held && number.format(r.held) + " held"].filter(Boolean).join(", "));
        text(participants, number.format(r.participants));
        text(published, rate(r.rate));
      });
    show("rooms-none", rooms.length === 0);
    text("rooms-more", "and " + plural(s.roomCount - rooms.length, "more room", "more rooms"));
    show("rooms-more", s.roomCount > rooms.length);
  }

  const sessionWords = { bound: "In", hibernating: "Lost, may resume", negotiating: "Logging in" };

  function showSessions(sessions) {
    const some = sessions.filter((s) => s.count > 0).sort((a, b) => b.count - a.count);
    list($("sessions"), some, (s) => s.state + " " + s.transport, row(["head", "", "n"]), (el, s) => {
      text(el.children[0], sessionWords[s.state] || s.state);
      text(el.children[1], s.transport);
      text(el.children[2], number.format(s.count));
    });
    show("sessions-none", some.length === 0);
  }

  function showSlow(s) {
    const slow = s.slow || [];
    list($("slow"), slow, (v) => v.session, row(["head", "n", ""]), (el, v) => {
      text(el.children[0], v.session);
      text(el.children[1], number.format(v.lag));
      text(el.children[2], v.blocked ? "takes nothing" : "slow");
    });
    show("slow-table", slow.length > 0);
    text("slow-none", slow.length ? "and " + plural(s.slowCount - slow.length, "more", "more")
      : s.slowCount ? plural(s.slowCount, "visitor does", "visitors do") + " not keep up. The admin token shows who." : "Everybody keeps up.");
    show("slow-none", slow.length === 0 || s.slowCount > slow.length);
  }

  function showCloses(closes) {
    list($("closes"), closes, (c) => c.reason, row(["head", "n"]), (el, c) => {
      text(el.children[0], c.reason);
      text(el.children[1], number.format(c.count));
    });
    show("closes-table", closes.length > 0);
    show("closes-none", closes.length === 0);
  }

  function showControl(s) {
    show("control", s.control);
    show("room-control", s.control);
    show("read-only", !s.control);
    const debugged = s.debugged || [];
    list($("debugged"), debugged, (d) => d.name, () => make("li"), (el, d) => text(el, d.name + " until " + clock(d.until)));
    show("debugged-box", debugged.length > 0);
  }

  const hidden = "Shown with the admin token, which the page of all rooms asks for.";

  function showRoom(r) {
    const now = new Date().toISOString();
    text("room-about", [r.address, r.meetingId && "meeting " + r.meetingId, r.state, "here for " + ago(now, r.made),
      r.held && plural(r.held, "visitor", "visitors") + " held because " + r.heldWhy + "; " + r.heldFor].filter(Boolean).join(" · "));
    text("room-visitors", number.format(r.visitors));
    text("room-queued", r.queued ? number.format(r.queued) + " waiting for main" : "");
    text("room-participants", number.format(r.participants));
    text("room-moderators", r.moderators ? plural(r.moderators, "moderator", "moderators") : "");
    text("room-hands", number.format(r.raisedHands));
    text("room-rate", rate(r.rate));

    const events = r.events || [];
    list($("events"), events, (e) => e.time + e.text, () => make("li", {}, make("time"), make("span")), (el, e) => {
      el.children[0].dateTime = e.time;
      text(el.children[0], clock(e.time));
      el.children[1].className = e.level === "WARN" || e.level === "ERROR" ? "warn" : "";
      text(el.children[1], e.text);
    });
    text("events-none", r.people ? "Nothing yet." : hidden);
    show("events-none", events.length === 0);

    const occupants = [...r.participantList || [], ...r.visitorList || []];
    list($("occupants"), occupants, (o) => o.jid, () => {
      const el = row(["head", "", "n"])();
      el.children[0].append(make("span"), make("small"));
      return el;
    }, (el, o) => {
      text(el.children[0].firstChild, o.name || o.id);
      text(el.children[0].lastChild, o.jid);
      text(el.children[1], o.role + (o.hand ? ", hand raised" : ""));
      text(el.children[2], ago(now, o.joined));
    });
    const more = r.people ? r.participants + r.visitors - occupants.length : 0;
    text("occupants-none", r.people ? "Nobody is in the room." : hidden);
    show("occupants-none", occupants.length === 0);
    text("occupants-more", "and " + plural(more, "more", "more"));
    show("occupants-more", more > 0);
  }

  function roomGone() {
    text("room-about", "The room is not on this node, or no more.");
    $("occupants").replaceChildren();
    for (const id of ["room-visitors", "room-participants", "room-hands", "room-rate"]) text(id, "–");
  }

  let shown = ""; // the room whose page this is, "" for none
  let reading = null; // ends the stream of events that is read
  const events = { status: showStatus, room: showRoom, gone: roomGone };

  // read shows events until the stream ends. An EventSource could not bear the
  // token. It returns false when the token is wanted.
  async function read(room, signal) {
    const r = await fetch("/status/events" + (room ? "?room=" + encodeURIComponent(room) : ""), {
      signal, cache: "no-store", headers: $("token").value ? { Authorization: "Bearer " + $("token").value } : {},
    });
    if (r.status === 401) return false;
    if (!r.ok) throw new Error(r.statusText);
    const stream = r.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await stream.read();
      if (done || signal.aborted) return true;
      const whole = (rest + value).split("\n\n");
      rest = whole.pop();
      for (const e of whole) {
        const [name, data] = e.split("\n").map((line) => line.slice(line.indexOf(": ") + 2));
        events[name](JSON.parse(data));
      }
    }
  }
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  async function connect(room) {
    if (reading) reading.abort();
    const { signal } = reading = new AbortController();
    while (!signal.aborted) {
      let welcome = true;
      try { welcome = await read(room, signal); } catch { /* it is tried again */ }
      if (signal.aborted) return;
      if (!welcome) {
        locked();
        return;
      }
      setState("lost", "trying again");
      await pause(1000);
    }
  }

  // locked asks for the token: from elsewhere nothing is seen without.
  function locked() {
    setState("locked", "");
    text("about", "");
    text("notice", "From another machine this page shows nothing without the admin token. Enter it below.");
    show("notice", true);
    show("control", true);
    show("read-only", false);
  }
  $("token").addEventListener("change", () => connect(shown));

  // The address says which view is shown: #room=… is a room's page.
  function navigate(focus) {
    const m = /^#room=(.+)$/.exec(location.hash);
    let room = "";
    if (m) {
      try { room = decodeURIComponent(m[1]); } catch { room = m[1]; }
    }
    shown = room;
    show("node-view", !room);
    show("room-view", room !== "");
    document.title = (room ? room.split("@")[0] + " · " : "") + "vnode";
    if (room) {
      text("room-title", room.split("@")[0]);
      text("room-about", "loading…");
      text("room-result", "");
      $("occupants").replaceChildren();
      $("events").replaceChildren();
    }
    if (focus) (room ? $("room-title") : $("main")).focus();
    connect(room);
  }
  addEventListener("hashchange", () => {
    if (location.hash !== "#main") navigate(true);
  });
  $("back").addEventListener("click", (e) => {
    e.preventDefault();
    history.pushState(null, "", location.pathname);
    navigate(true);
  });
  addEventListener("popstate", () => {
    if (!location.hash) navigate(true);
  });

  // ask sends an operator's wish with the token, which stays in this page's
  // memory.
  async function ask(result, method, path, body) {
    text(result, "…");
    try {
      const r = await fetch(path, {
        method, body: body && JSON.stringify(body), headers: { Authorization: "Bearer " + $("token").value },
      });
      const answer = await r.json();
      text(result, r.ok ? "Done." : answer.error);
      if (r.ok && before && !before.people) connect(shown);
    } catch {
      text(result, "The node did not answer.");
    }
  }
  $("control").addEventListener("submit", (e) => {
    e.preventDefault();
    const timeout = $("timeout").value.trim();
    ask("control-result", "POST", "/admin/drain", timeout ? { timeout } : {});
  });
  $("undrain").addEventListener("click", () => ask("control-result", "DELETE", "/admin/drain"));
  $("room-control").addEventListener("submit", (e) => {
    e.preventDefault();
    ask("room-result", "POST", "/admin/debug", { target: shown });
  });

  navigate(false);
})();
