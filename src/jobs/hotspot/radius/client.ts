import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIP, SocketAddress } from 'node:net';
import { CannotSend, decodeAnswer, encodeDisconnect, type Session } from './packet.ts';

export type { Session } from './packet.ts';

export interface Nas {
  host: string;
  port: number;
  secret: string;
}

export interface Patience {
  /** How long one try waits for its answer, and how many there are. */
  timeoutMs?: number;
  tries?: number;
  /** Ends the wait at once, with 'stopped'. */
  signal?: AbortSignal;
}

export type Disconnected =
  | 'ack'
  /** Refused, with the Error-Cause where the NAS gave one. */
  | { nak: number | null }
  /** Every try went unanswered: a dead or unreachable NAS, or another secret there than here. */
  | 'silence'
  | 'stopped'
  /** It never left: a host name nobody knows, no route, a session that cannot be named. */
  | { unsent: string };

export const SESSION_NOT_FOUND = 503;

/** Whether the session is over on the NAS: ended by this request, or not there any more. */
export const isGone = (answer: Disconnected): boolean =>
  answer === 'ack' || (typeof answer === 'object' && 'nak' in answer && answer.nak === SESSION_NOT_FOUND);

// RFC 5176, section 3.5, and what it is likely to mean to who reads it.
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

// A router answers within milliseconds, over a bad line within a second or two.
const TIMEOUT_MS = 3000;
const TRIES = 3;

// What one byte can tell apart.
const IDENTIFIERS = 256;

interface Waiting {
  request: Buffer;
  secret: string;
  answered(answer: Disconnected): void;
}

/** Sends requests to any number of routers at once. Its sockets live as long as it does: `await using`, or `close()`. */
export class RadiusClient {
  readonly #ports: SourcePort[] = [];
  readonly #addresses = new Map<string, Promise<Address>>();

  /** Never rejects for what a NAS or the network does. */
  async disconnect(nas: Nas, session: Session, patience: Patience = {}): Promise<Disconnected> {
    if (patience.signal?.aborted) return 'stopped';
    try {
      check(nas);
      const to = await unlessAborted(this.#resolve(nas.host), patience.signal);
      if (!to) return 'stopped';
      const { port, identifier } = this.#reserve(to, nas.port);
      const request = encodeDisconnect(session, nas.secret, identifier, new Date());
      return await port.exchange({ ...to, port: nas.port }, request, nas.secret, patience);
    } catch (error) {
      if (error instanceof CannotSend) return { unsent: error.message };
      throw error;
    }
  }

  close(): void {
    for (const port of this.#ports.splice(0)) port.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** A name is looked up once a run, not once a session. */
  #resolve(host: string): Promise<Address> {
    const known = this.#addresses.get(host);
    if (known) return known;
    const found = resolve(host);
    this.#addresses.set(host, found);
    return found;
  }

  /** An identifier is one byte, so one source port carries 256 requests to the same NAS; more take another port. */
  #reserve({ family, address }: Address, to: number): { port: SourcePort; identifier: number } {
    const suitable = this.#ports.filter((port) => port.family === family);
    for (const port of suitable) {
      const identifier = port.freeIdentifier(address, to);
      if (identifier !== undefined) return { port, identifier };
    }
    const port = new SourcePort(family);
    this.#ports.push(port);
    return { port, identifier: port.freeIdentifier(address, to)! };
  }
}

interface Address {
  family: 4 | 6;
  address: string;
}

function check({ port, secret }: Nas): void {
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw new CannotSend(`the NAS has no port ${port}`);
  if (!secret) throw new CannotSend('the NAS has no secret');
}

/** A resolver that does not answer takes longer to say so than a run may last. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T | undefined> {
  if (!signal) return work;
  const heard = new AbortController();
  const aborted = new Promise<undefined>((done) =>
    signal.addEventListener('abort', () => done(undefined), { once: true, signal: heard.signal }),
  );
  try {
    return await Promise.race([work, aborted]);
  } finally {
    heard.abort();
  }
}

async function resolve(host: string): Promise<Address> {
  if (isIP(host)) return canonical(host);
  try {
    return canonical((await lookup(host)).address);
  } catch (error) {
    throw new CannotSend(`the host name "${host}" of the NAS is not known (${(error as NodeJS.ErrnoException).code})`);
  }
}

/** Written as the socket writes a sender's address, so that the two compare. */
function canonical(host: string): Address {
  if (isIP(host) === 4) return { family: 4, address: host };
  const [plain, zone] = host.split('%') as [string, string | undefined];
  const { address } = new SocketAddress({ address: plain, family: 'ipv6' });
  return { family: 6, address: zone ? `${address}%${zone}` : address };
}

/** One UDP socket and the requests that wait for their answers on it. */
class SourcePort {
  readonly family: 4 | 6;
  readonly #socket: Socket;
  readonly #waiting = new Map<string, Waiting>();
  #next = 0;

  constructor(family: 4 | 6) {
    this.family = family;
    this.#socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6' });
    this.#socket.on('message', (packet, from) => this.#receive(packet, from));
    this.#socket.on('error', (error) => this.#fail(error));
  }

  /** In turn, so that a late answer to one request is long gone when its identifier comes round again. */
  freeIdentifier(address: string, port: number): number | undefined {
    for (let n = 0; n < IDENTIFIERS; n++) {
      const identifier = this.#next++ % IDENTIFIERS;
      if (!this.#waiting.has(key(address, port, identifier))) return identifier;
    }
    return undefined;
  }

  exchange(
    to: { address: string; port: number },
    request: Buffer,
    secret: string,
    { timeoutMs = TIMEOUT_MS, tries = TRIES, signal }: Patience,
  ): Promise<Disconnected> {
    const name = key(to.address, to.port, request[1]!);
    return new Promise((done) => {
      let sent = 0;
      let left = false;
      let refused: string | undefined;
      let timer: NodeJS.Timeout | undefined;

      const answered = (answer: Disconnected) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', stop);
        this.#waiting.delete(name);
        done(answer);
      };
      const stop = () => answered('stopped');
      const send = () => {
        if (sent === tries) {
          answered(refused && !left ? { unsent: refused } : 'silence');
          return;
        }
        sent++;
        timer = setTimeout(send, timeoutMs);
        this.#socket.send(request, to.port, to.address, (error) => {
          if (error) refused = `the network refused the packet (${(error as NodeJS.ErrnoException).code})`;
          else left = true;
        });
      };
      this.#waiting.set(name, { request, secret, answered });
      signal?.addEventListener('abort', stop, { once: true });
      send();
    });
  }

  close(): void {
    for (const { answered } of [...this.#waiting.values()]) answered('stopped');
    this.#socket.close();
  }

  #receive(packet: Buffer, { address, port }: RemoteInfo): void {
    const waiting = this.#waiting.get(key(address, port, packet[1] ?? -1));
    const answer = waiting && decodeAnswer(packet, waiting.request, waiting.secret);
    if (answer) waiting.answered(answer);
  }

  #fail(error: Error): void {
    const reason = `the UDP socket failed (${(error as NodeJS.ErrnoException).code ?? error.message})`;
    for (const { answered } of [...this.#waiting.values()]) answered({ unsent: reason });
  }
}

const key = (address: string, port: number, identifier: number) => `${address} ${port} ${identifier}`;
