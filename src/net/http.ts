import * as http from 'node:http';
import * as https from 'node:https';

export interface Post {
  url: string;
  headers: Record<string, string>;
  body: string;
}

export interface Answer {
  status: number;
  body: string;
  /** As the header says it: seconds or a date. */
  retryAfter: string | undefined;
}

/** No answer. When the request had left, whether it was acted on is unknown. */
export interface Lost {
  left: boolean;
  reason: string;
}

// Far more than a gateway says; the page of a captive portal or a stream is longer.
const LONGEST_BODY = 64 * 1024;

// Many sends share a connection, but none takes an old one: the other side may be closing it, and then nobody knows whether
// the request arrived.
const IDLE_SOCKET_MS = 4000;
const KEPT = { keepAlive: true, timeout: IDLE_SOCKET_MS };
const plain = { request: http.request, agent: new http.Agent(KEPT), connected: 'connect' };
const secure = { request: https.request, agent: new https.Agent(KEPT), connected: 'secureConnect' };

/**
 * node:http rather than fetch: fetch follows redirects with a provider's key in hand, and does not tell whether a
 * request that failed had left. Never rejects; a reason names the host and nothing else of the request.
 */
export function post({ url, headers, body }: Post, timeoutMs: number, signal: AbortSignal): Promise<Answer | Lost> {
  return new Promise((done) => {
    const target = new URL(url);
    const way = target.protocol === 'https:' ? secure : plain;
    let left = false;
    let answer: Answer | undefined;
    let request: http.ClientRequest | undefined;

    const settle = (reason: string) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
      // With the status known, an answer that breaks off is still an answer.
      done(answer ?? { left, reason });
      request?.destroy();
    };
    const stop = () => settle(`the run ended before ${target.host} answered`);
    const timer = setTimeout(() => settle(`${target.host} did not answer within ${timeoutMs / 1000} s`), timeoutMs);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) return stop();

    try {
      request = way.request(target, {
        method: 'POST',
        agent: way.agent,
        headers: { ...headers, 'content-length': Buffer.byteLength(body), 'user-agent': 'duetick' },
      });
    } catch (error) {
      return settle(`the request to ${target.host} cannot be made (${codeOf(error)})`);
    }
    request.on('socket', (socket) => {
      if (request!.reusedSocket) left = true;
      else socket.once(way.connected, () => (left = true));
    });
    request.on('response', (response) => {
      answer = { status: response.statusCode!, body: '', retryAfter: response.headers['retry-after'] };
      response.setEncoding('utf8').on('data', (chunk: string) => {
        answer!.body += chunk;
        if (answer!.body.length > LONGEST_BODY) settle('');
      });
      for (const end of ['close', 'error']) response.on(end, () => settle(''));
    });
    request.on('error', (error) => {
      const what = left ? 'hung up without an answer' : 'cannot be reached';
      settle(`${target.host} ${what} (${codeOf(error)})`);
    });
    request.end(body);
  });
}

const codeOf = (error: unknown) => String((error as NodeJS.ErrnoException)?.code ?? 'no code');
