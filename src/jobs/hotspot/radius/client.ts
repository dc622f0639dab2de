import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIP, SocketAddress } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { CannotSend, decodeAnswer, encodeDisconnect, type Session } from './packet.ts';

export interface Nas {
  host: string;
  port: number;
  secret: string;
}

export type Disconnected =
  | 'ack'
  /** Refused, with the Error-Cause where the NAS gave one. */
  | { nak: number | null }
  /** Every try went unanswered: a dead or unreachable NAS, or another secret there than here. */
  | 'silence'
  | 'stopped'
  /** It never left: an unknown host name, no route, a session that cannot be named. */
  | { unsent: string };

const SESSION_NOT_FOUND = 503;

/** Whether the session is over on the NAS: ended by this request, or not there any more. */
export const isGone = (answer: Disconnected): boolean =>
  answer === 'ack' || (typeof answer === 'object' && 'nak' in answer && answer.nak === SESSION_NOT_FOUND);

// RFC 5176, section 3.5, and what it is likely to mean to its reader.
const CAUSES: Record<number, string> = {
  401: 'unsupported attribute',
  402: 'missing attribute: the NAS wants more to tell the session by',
  403: 'NAS identification mismatch: the NAS knows itself under another address',
  404: 'invalid request',
  405: 'unsupported service',
  406: 'unsupported extension: the NAS takes no Disconnect-Requests',
  501: 'administratively prohibited: the NAS takes no Disconnect-Requests from here',
  502: 'request not routable',
  503: 'session not found',
  504: 'session not removable',
  505: 'other proxy processing error',
  506: 'resources unavailable',
  507: 'request initiated',
  508: 'multiple sessions selected',
};

/** A sentence for the record. It names no secret and no user. */
export function describeDisconnect(answer: Disconnected): string {
  if (answer === 'ack') return 'acknowledged';
  if (answer === 'silence') return 'no answer: the NAS is down or out of reach, or its secret is not the one here';
  if (answer === 'stopped') return 'stopped before an answer came';
  if ('unsent' in answer) return `not sent: ${answer.unsent}`;
  if (answer.nak === null) return 'refused without a cause';
  return `refused with ${answer.nak} (${CAUSES[answer.nak] ?? 'a cause of its own'})`;
}

// A router answers within milliseconds. A dead one may cost a tick a second in all; the next tick hears a slow one, which by then
// has ended the session.
const PATIENCE = { timeoutMs: 300, tries: 3 };
const RESOLVER_MS = 700;

/** Never rejects for what a NAS or the network does. The signal ends the wait at once, with 'stopped'. */
export async function disconnect(
  nas: Nas,
  session: Session,
  signal?: AbortSignal,
  { timeoutMs, tries } = PATIENCE,
): Promise<Disconnected> {
  if (signal?.aborted) return 'stopped';
  // Ends the timers, the listener and the socket of this request.
  const over = new AbortController();
  const stopped = new Promise<Disconnected>((done) =>
    signal?.addEventListener('abort', () => done('stopped'), { signal: over.signal }),
  );
  try {
    // A resolver that does not answer takes longer to say so than a run may last.
    return await Promise.race([stopped, ask(nas, session, timeoutMs, tries, over.signal)]);
  } catch (error) {
    if (error instanceof CannotSend) return { unsent: error.message };
    throw error;
  } finally {
    over.abort();
  }
}

let requests = 0;

/** Each request has a source port of its own, so that any number of them may wait for one NAS. */
async function ask(nas: Nas, session: Session, timeoutMs: number, tries: number, over: AbortSignal) {
  const { host, port, secret } = nas;
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw new CannotSend(`the NAS has no port ${port}`);
  if (!secret) throw new CannotSend('the NAS has no secret');
  const [address] = await addressesOf(host);
  over.throwIfAborted();
  const request = encodeDisconnect(session, secret, requests++ % 256, new Date());

  const socket = createSocket({ type: isIP(address) === 4 ? 'udp4' : 'udp6', signal: over });
  return new Promise<Disconnected>((done, fail) => {
    socket.on('error', (error) => fail(new CannotSend(`the UDP socket failed (${codeOf(error)})`)));
    socket.on('message', (packet, from) => {
      const answer = from.address === address && from.port === port && decodeAnswer(packet, request, secret);
      if (answer) done(answer);
    });
    let sent = 0;
    let left = false;
    let refused: string | undefined;
    const send = () => {
      if (sent++ === tries) return done(refused && !left ? { unsent: refused } : 'silence');
      socket.send(request, port, address, (error) => {
        if (error) refused = `the network refused the packet (${codeOf(error)})`;
        else left = true;
      });
    };
    const timer = setInterval(send, timeoutMs);
    over.addEventListener('abort', () => clearInterval(timer));
    send();
  });
}

const addresses = new Map<string, Promise<[string, ...string[]]>>();

/** A name is looked up once a run, not once a session. */
export function addressesOf(host: string): Promise<[string, ...string[]]> {
  const found = addresses.get(host) ?? resolved(host);
  addresses.set(host, found);
  return found.catch((error) => {
    throw new CannotSend(`the host name "${host}" of the NAS is not known (${codeOf(error)})`);
  });
}

async function resolved(host: string): Promise<[string, ...string[]]> {
  const over = new AbortController();
  const late = sleep(RESOLVER_MS, undefined, { signal: over.signal }).then(() =>
    Promise.reject(new Error('no answer')),
  );
  const found = await Promise.race([lookup(host, { all: true }), late]).finally(() => over.abort());
  return found.map(({ address }) => canonical(address)) as [string, ...string[]];
}

/** Written as the socket writes a sender's address, so that the two compare. */
function canonical(address: string): string {
  if (isIP(address) === 4) return address;
  const [plain, ...zone] = address.split('%') as [string, ...string[]];
  return [new SocketAddress({ address: plain, family: 'ipv6' }).address, ...zone].join('%');
}

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? (error as Error).message;
