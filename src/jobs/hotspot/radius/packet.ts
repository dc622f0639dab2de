import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';

// RFC 5176 (dynamic authorization) on the packet of RFC 2865. Only what names the session is sent: a NAS refuses a
// Disconnect-Request with any other attribute in it.

export interface Session {
  username: string;
  /** Acct-Session-Id, as the NAS itself gave it in accounting. */
  sessionId?: string | null;
  nasIp?: string | null;
  framedIp?: string | null;
}

const DISCONNECT_REQUEST = 40;
const DISCONNECT_ACK = 41;
const DISCONNECT_NAK = 42;

const USER_NAME = 1;
const NAS_IP_ADDRESS = 4;
const FRAMED_IP_ADDRESS = 8;
const ACCT_SESSION_ID = 44;
const EVENT_TIMESTAMP = 55;
const MESSAGE_AUTHENTICATOR = 80;
const NAS_IPV6_ADDRESS = 95;
const ERROR_CAUSE = 101;
const FRAMED_IPV6_ADDRESS = 168;

const HEADER = 20;
const AUTHENTICATOR = 4; // its offset in the header
const DIGEST = 16;
const LONGEST_VALUE = 253;

type Attribute = [type: number, value: Buffer];

/** A session that no packet can name, or a NAS that no packet can reach. */
export class CannotSend extends Error {}

/** A signed Disconnect-Request, the same bytes for every try. */
export function encodeDisconnect(session: Session, secret: string, identifier: number, now: Date): Buffer {
  return encodeRequest(DISCONNECT_REQUEST, identifier, sessionAttributes(session, now), secret);
}

function sessionAttributes({ username, sessionId, nasIp, framedIp }: Session, now: Date): Attribute[] {
  const seconds = Buffer.alloc(4);
  seconds.writeUInt32BE(Math.floor(now.getTime() / 1000));
  return [
    [USER_NAME, text('user name', username)],
    ...(sessionId ? [[ACCT_SESSION_ID, text('session id', sessionId)] satisfies Attribute] : []),
    ...address(nasIp, NAS_IP_ADDRESS, NAS_IPV6_ADDRESS),
    ...address(framedIp, FRAMED_IP_ADDRESS, FRAMED_IPV6_ADDRESS),
    [EVENT_TIMESTAMP, seconds],
  ];
}

function text(what: string, value: string): Buffer {
  const bytes = Buffer.from(value);
  if (bytes.length === 0 || bytes.length > LONGEST_VALUE) {
    throw new CannotSend(`the ${what} has ${bytes.length} bytes; RADIUS takes 1 to ${LONGEST_VALUE}`);
  }
  return bytes;
}

function address(value: string | null | undefined, v4: number, v6: number): Attribute[] {
  if (!value) return [];
  const plain = value.replace(/\/(32|128)$/, ''); // as PostgreSQL writes an inet in text
  switch (isIP(plain)) {
    case 4:
      return [[v4, Buffer.from(plain.split('.').map(Number))]];
    case 6:
      return [[v6, ipv6Bytes(plain)]];
    default:
      throw new CannotSend(`"${value}" is not an IP address`);
  }
}

function ipv6Bytes(value: string): Buffer {
  const words = (part: string) =>
    part.split(':').flatMap((word) => {
      if (!word.includes('.')) return word === '' ? [] : [Number.parseInt(word, 16)];
      const [a, b, c, d] = word.split('.').map(Number) as [number, number, number, number];
      return [(a << 8) | b, (c << 8) | d];
    });
  const [head, tail] = value.replace(/%.*$/, '').split('::') as [string, string | undefined];
  const [before, after] = [words(head), words(tail ?? '')];
  const bytes = Buffer.alloc(16);
  const all = [...before, ...new Array(8 - before.length - after.length).fill(0), ...after];
  for (const [n, word] of all.entries()) bytes.writeUInt16BE(word, n * 2);
  return bytes;
}

function encodeRequest(code: number, identifier: number, attributes: Attribute[], secret: string): Buffer {
  // First, so that nothing that somebody else chose stands before it (the Blast-RADIUS attack of 2024 needs that).
  const all: Attribute[] = [[MESSAGE_AUTHENTICATOR, Buffer.alloc(DIGEST)], ...attributes];
  const body = Buffer.concat(all.map(([type, value]) => Buffer.concat([Buffer.of(type, value.length + 2), value])));
  const packet = Buffer.concat([Buffer.alloc(HEADER), body]);
  packet.writeUInt8(code, 0);
  packet.writeUInt8(identifier, 1);
  packet.writeUInt16BE(packet.length, 2);
  // Both are taken over zeros in either place, the inner one first.
  createHmac('md5', secret)
    .update(packet)
    .digest()
    .copy(packet, HEADER + 2);
  md5(packet, secret).copy(packet, AUTHENTICATOR);
  return packet;
}

/** What the answer says, if the NAS that knows the secret really gave it to this request. */
export function decodeAnswer(received: Buffer, request: Buffer, secret: string): 'ack' | { nak: number | null } | null {
  if (received.length < HEADER) return null;
  const length = received.readUInt16BE(2);
  if (length < HEADER || length > received.length) return null;
  const answer = received.subarray(0, length); // what follows is padding
  const code = answer[0];
  if ((code !== DISCONNECT_ACK && code !== DISCONNECT_NAK) || answer[1] !== request[1]) return null;

  const authenticator = answer.subarray(AUTHENTICATOR, HEADER);
  const underRequest = Buffer.from(answer);
  request.copy(underRequest, AUTHENTICATOR, AUTHENTICATOR, HEADER);
  if (!timingSafeEqual(authenticator, md5(underRequest, secret))) return null;

  const attributes = decodeAttributes(answer);
  if (!attributes) return null;
  const signature = attributes.find(({ type }) => type === MESSAGE_AUTHENTICATOR);
  if (signature && !isSigned(underRequest, signature, secret)) return null;
  if (code === DISCONNECT_ACK) return 'ack';
  const cause = attributes.find(({ type }) => type === ERROR_CAUSE)?.value;
  return { nak: cause?.length === 4 ? cause.readUInt32BE() : null };
}

/** Implementations differ in what stands in the authenticator's place: the request's, or, as in FreeRADIUS, zeros. */
function isSigned(packet: Buffer, { offset, value }: Found, secret: string): boolean {
  if (value.length !== DIGEST) return false;
  const underRequest = Buffer.from(packet).fill(0, offset, offset + DIGEST);
  const underZeros = Buffer.from(underRequest).fill(0, AUTHENTICATOR, HEADER);
  return [underRequest, underZeros].some((unsigned) =>
    timingSafeEqual(value, createHmac('md5', secret).update(unsigned).digest()),
  );
}

interface Found {
  type: number;
  value: Buffer;
  /** Of the value in the packet. */
  offset: number;
}

function decodeAttributes(packet: Buffer): Found[] | null {
  const found: Found[] = [];
  for (let at = HEADER; at < packet.length; ) {
    const length = packet[at + 1];
    if (length === undefined || length < 2 || at + length > packet.length) return null;
    found.push({ type: packet[at]!, value: packet.subarray(at + 2, at + length), offset: at + 2 });
    at += length;
  }
  return found;
}

const md5 = (packet: Buffer, secret: string) => createHash('md5').update(packet).update(secret).digest();
