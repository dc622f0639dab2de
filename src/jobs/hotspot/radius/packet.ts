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
  // The signature comes first, so that nothing that somebody else chose stands before it (see the Blast-RADIUS attack of 2024).
  const attributes: Attribute[] = [[MESSAGE_AUTHENTICATOR, Buffer.alloc(DIGEST)], ...attributesOf(session, now)];
  const body = attributes.map(([type, value]) => Buffer.concat([Buffer.of(type, value.length + 2), value]));
  const packet = Buffer.concat([Buffer.alloc(HEADER), ...body]);
  packet.set([DISCONNECT_REQUEST, identifier]);
  packet.writeUInt16BE(packet.length, 2);
  // Both are taken over zeros in either place, the inner one first.
  packet.set(hmac(packet, secret), HEADER + 2);
  packet.set(md5(packet, secret), AUTHENTICATOR);
  return packet;
}

function attributesOf({ username, sessionId, nasIp, framedIp }: Session, now: Date): Attribute[] {
  const seconds = Buffer.alloc(4);
  seconds.writeUInt32BE(Math.floor(now.getTime() / 1000));
  return [
    text(USER_NAME, 'user name', username),
    ...(sessionId ? [text(ACCT_SESSION_ID, 'session id', sessionId)] : []),
    ...(nasIp ? [address(nasIp, NAS_IP_ADDRESS, NAS_IPV6_ADDRESS)] : []),
    ...(framedIp ? [address(framedIp, FRAMED_IP_ADDRESS, FRAMED_IPV6_ADDRESS)] : []),
    [EVENT_TIMESTAMP, seconds],
  ];
}

function text(type: number, what: string, value: string): Attribute {
  const bytes = Buffer.from(value);
  if (bytes.length === 0 || bytes.length > LONGEST_VALUE) {
    throw new CannotSend(`the ${what} has ${bytes.length} bytes; RADIUS takes 1 to ${LONGEST_VALUE}`);
  }
  return [type, bytes];
}

function address(value: string, v4: number, v6: number): Attribute {
  const plain = value.replace(/\/(32|128)$/, ''); // as PostgreSQL writes an inet in text
  switch (isIP(plain)) {
    case 4:
      return [v4, Buffer.from(plain.split('.').map(Number))];
    case 6:
      return [v6, ipv6Bytes(plain.replace(/%.*$/, ''))];
    default:
      throw new CannotSend(`"${value}" is not an IP address`);
  }
}

function ipv6Bytes(value: string): Buffer {
  // A URL writes an IPv4 address at the end in hexadecimal too.
  const [head, tail = ''] = new URL(`http://[${value}]`).hostname.slice(1, -1).split('::') as [string, string?];
  const [before, after] = [head, tail].map((part) => part.split(':').filter(Boolean)) as [string[], string[]];
  const words = [...before, ...Array(8 - before.length - after.length).fill('0'), ...after];
  return Buffer.from(words.map((word) => word.padStart(4, '0')).join(''), 'hex');
}

/** What the answer says, if the NAS that knows the secret really gave it to this request. */
export function decodeAnswer(received: Buffer, request: Buffer, secret: string): 'ack' | { nak: number | null } | null {
  if (received.length < HEADER) return null;
  const length = received.readUInt16BE(2);
  if (length < HEADER || length > received.length) return null;
  const answer = received.subarray(0, length); // the rest is padding
  const code = answer[0];
  if ((code !== DISCONNECT_ACK && code !== DISCONNECT_NAK) || answer[1] !== request[1]) return null;

  const underRequest = Buffer.from(answer);
  request.copy(underRequest, AUTHENTICATOR, AUTHENTICATOR, HEADER);
  if (!timingSafeEqual(answer.subarray(AUTHENTICATOR, HEADER), md5(underRequest, secret))) return null;

  const attributes = decodeAttributes(underRequest);
  if (!attributes) return null;
  const signature = attributes.get(MESSAGE_AUTHENTICATOR);
  if (signature && !isSigned(underRequest, signature, secret)) return null;
  if (code === DISCONNECT_ACK) return 'ack';
  const cause = attributes.get(ERROR_CAUSE);
  return { nak: cause?.length === 4 ? cause.readUInt32BE() : null };
}

/** Implementations differ in what stands in the authenticator's place: the request's, or, as in FreeRADIUS, zeros. */
function isSigned(packet: Buffer, signature: Buffer, secret: string): boolean {
  if (signature.length !== DIGEST) return false;
  const given = Buffer.from(signature);
  signature.fill(0); // it lies in the packet
  const underRequest = hmac(packet, secret);
  const underZeros = hmac(packet.fill(0, AUTHENTICATOR, HEADER), secret);
  return [underRequest, underZeros].some((expected) => timingSafeEqual(given, expected));
}

/** The first value of each type, or null if the packet is broken. */
function decodeAttributes(packet: Buffer): Map<number, Buffer> | null {
  const found = new Map<number, Buffer>();
  for (let at = HEADER; at < packet.length; ) {
    const [type, length] = [packet[at]!, packet[at + 1] ?? 0];
    if (length < 2 || at + length > packet.length) return null;
    if (!found.has(type)) found.set(type, packet.subarray(at + 2, at + length));
    at += length;
  }
  return found;
}

const md5 = (packet: Buffer, secret: string) => createHash('md5').update(packet).update(secret).digest();
const hmac = (packet: Buffer, secret: string) => createHmac('md5', secret).update(packet).digest();
