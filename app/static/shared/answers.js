// Gradio's page reads all its answers from one stream. The server ends the stream when no request of
// the page is left, and the page opens another one with its next request, unless it takes the last
// one for open. A request that is sent while that end is under way would wait for ever: its answer
// is ready, the page has just been told that the stream is closed, and nobody asks again. So the end
// is held back until every request has been sent, and while one is unanswered the stream goes on
// with a new one.
(() => {
  const plainFetch = window.fetch.bind(window);
  const sending = new Set(); // requests whose number is not known yet
  const unanswered = new Set(), early = new Set(); // numbers; those whose answer came before them

  function send(request) {
    const sent = plainFetch(request).then(async (response) => {
      if (response.ok) {
        const { event_id } = await response.clone().json();
        if (!early.delete(event_id)) unanswered.add(event_id);
      }
      return response;
    }).finally(() => sending.delete(sent));
    sending.add(sent);
    return sent;
  }

  // Returns the kind of a message and the number of its request; answers may be large, so only their
  // first words are read.
  function parse(message) {
    const found = /^data: \{"msg":"(\w+)","event_id":(?:"(\w+)"|null)/.exec(message);
    if (found) return { msg: found[1], event_id: found[2] };
    return message.startsWith("data: ") ? JSON.parse(message.slice(6)) : {};
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
        if (msg === "process_completed" && !unanswered.delete(event_id)) early.add(event_id);
        page.enqueue(encoder.encode(message + "\n\n"));
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
          while (sending.size) await Promise.allSettled(sending);
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
    if (pathname.endsWith("/queue/join")) return send(new Request(resource, options));
    if (pathname.endsWith("/queue/data")) return follow(new Request(resource, options));
    return plainFetch(resource, options);
  };
})();
