// Gradio's page reads all its answers from one stream. The server ends the stream when no request of
// the page is left, and the page opens another one with its next request, unless it takes the last
// one for open. A request that is sent while that end is under way would wait for ever: its answer
// is ready, the page has just been told that the stream is closed, and nobody asks again. So the end
// is held back until every request has been sent, and as soon as one of them waits for its answer the
// stream goes on with a new one.
//
// Answers may also arrive in another order than that of their requests: Gradio's page sends two
// requests for one choice in a list, side by side, and a busy server may answer the first one of two
// choices last. Then the page would show what was chosen before. So an answer changes nothing that a
// later request of the same kind has set already.
(() => {
  const plainFetch = window.fetch.bind(window);
  const kinds = new Map(); // by kind of request: {sent, shown}, the numbers of the last ones
  const turns = new Map(); // by number of an unanswered request: its kind and its number among them

  // Returns the turn of a request among those that set the same components, or null for a request
  // whose answer is needed in any order, as a tile is.
  function turn(options) {
    const { fn_index } = JSON.parse(options.body);
    const listener = window.gradio_config.dependencies.find(({ id }) => id === fn_index);
    if (!listener) return null;
    const { trigger_mode, targets, outputs } = listener;
    const last = trigger_mode === "always_last" || targets.some(([, event]) => event === "view");
    if (!last) return null;
    const name = trigger_mode + " " + outputs;
    const kind = kinds.get(name) || { sent: 0, shown: 0 };
    kinds.set(name, kind);
    kind.sent += 1;
    return { kind, number: kind.sent };
  }

  // Notes that a turn has its answer; returns whether a later one had it before.
  function noteAnswer(own) {
    if (!own) return false;
    if (own.number < own.kind.shown) return true;
    own.kind.shown = own.number;
    return false;
  }

  // Empties the data of a late answer: its components stay as they are.
  function emptied(answer) {
    for (const place of (answer.data || []).keys()) answer.data[place] = { __type__: "update" };
    return answer;
  }

  const sending = new Set(); // requests whose number is not known yet
  let wake = () => {}; // called when one of them has been sent
  const unanswered = new Set(), early = new Set(); // numbers; those whose answer came before them

  function send(request, own) {
    const sent = plainFetch(request).then(async (response) => {
      if (response.ok) {
        const { event_id } = await response.clone().json();
        if (early.delete(event_id)) noteAnswer(own);
        else {
          unanswered.add(event_id);
          if (own) turns.set(event_id, own);
        }
      }
      return response;
    }).finally(() => {
      sending.delete(sent);
      wake();
    });
    sending.add(sent);
    return sent;
  }

  // A request that is answered at once, without a stream.
  async function ask(resource, options) {
    const own = turn(options), response = await plainFetch(resource, options);
    if (!own || !response.ok || !noteAnswer(own)) return response;
    const { status, headers } = response;
    return new Response(JSON.stringify(emptied(await response.json())), { status, headers });
  }

  // Returns the kind of a message and the number of its request; answers may be large, so only their
  // first words are read.
  function parse(message) {
    const found = /^data: \{"msg":"(\w+)","event_id":(?:"(\w+)"|null)/.exec(message);
    if (found) return { msg: found[1], event_id: found[2] };
    return message.startsWith("data: ") ? JSON.parse(message.slice(6)) : {};
  }

  function withoutData(message) {
    const { output, ...rest } = JSON.parse(message.slice(6));
    return { ...rest, output: emptied(output) };
  }

  // Hands on the messages of one stream, but the one that ends it, which is returned.
  async function handOn(response, page) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const encoder = new TextEncoder();
    let rest = "", end = null;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return end;
      rest += value;
      if (!value.includes("\n")) continue; // messages have no line breaks within
      const messages = rest.split("\n\n");
      rest = messages.pop();
      for (const message of messages) {
        const { msg, event_id } = parse(message);
        if (msg === "close_stream") {
          end = encoder.encode(message + "\n\n");
          continue;
        }
        let text = message;
        if (msg === "process_completed") {
          if (!unanswered.delete(event_id)) early.add(event_id);
          if (noteAnswer(turns.get(event_id))) text = "data: " + JSON.stringify(withoutData(message));
          turns.delete(event_id);
        }
        page.enqueue(encoder.encode(text + "\n\n"));
      }
    }
  }

  async function follow(request) {
    const first = await plainFetch(request.clone());
    if (!first.ok || !first.body) return first;
    async function start(page) {
      try {
        for (let response = first; ; response = await plainFetch(request.clone())) {
          if (!response.ok) throw new Error("The stream of answers cannot be opened.");
          const end = await handOn(response, page);
          while (sending.size && !unanswered.size) await new Promise((done) => { wake = done; });
          if (end && unanswered.size) continue;
          if (end) page.enqueue(end);
          page.close();
          return;
        }
      } catch (error) {
        page.error(error);
      }
    }
    const body = new ReadableStream({ start: (page) => void start(page) });
    return new Response(body, { status: first.status, headers: first.headers });
  }

  window.fetch = (resource, options) => {
    const { pathname } = new URL(resource.url ?? resource, window.location.href);
    if (pathname.endsWith("/queue/join")) return send(new Request(resource, options), turn(options));
    if (pathname.endsWith("/run/predict")) return ask(resource, options);
    if (pathname.endsWith("/queue/data")) return follow(new Request(resource, options));
    return plainFetch(resource, options);
  };
})();
