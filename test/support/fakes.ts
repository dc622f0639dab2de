import { createHash, createHmac, randomBytes } from 'node:crypto';
import { createSocket, type RemoteInfo } from 'node:dgram';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** An SMS gateway and a NAS as they behave on the wire. Nothing here comes from src: both sides must agree on the RFC. */

export interface Asked {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: string;
}

export interface FakeGateway extends AsyncDisposable {
  url: string;
  asked: Asked[];
}

export type Reply = (response: ServerResponse, asked: Asked) => void;

export const answer =
  (status: number, body: unknown, headers: Record<string, string> = {}): Reply =>
  (response) =>
    response.writeHead(status, headers).end(typeof body === 'string' ? body : JSON.stringify(body));

export const hang: Reply = () => {};
export const hangUp: Reply = (response) => response.socket!.destroy();
export const breakOff =
  (status: number, body: string): Reply =>
  (response) => {
    response.writeHead(status, { 'content-length': body.length + 10 });
    response.write(body, () => response.socket!.destroy());
  };

export async function fakeGateway(reply: Reply): Promise<FakeGateway> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      const all = { method: request.method!, path: request.url!, headers: request.headers, body };
      asked.push(all);
      reply(response, all);
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

/** What came in, and how to answer it. */
export interface Request {
  packet: Buffer;
  identifier: number;
  attributes: Map<number, Buffer>;
  from: RemoteInfo;
  /** How often this very packet has come, this time included. */
  times: number;
  reply(code: number, attributes?: Buffer, secret?: string): Buffer;
  /** A Message-Authenticator for an answer without other attributes. */
  signature(code: number, over: 'request' | 'zeros'): Buffer;
  send(packet: Buffer, delayMs?: number): void;
}

export interface FakeNas extends AsyncDisposable {
  host: string;
  port: number;
  secret: string;
  requests: Request[];
}

export const ACK = 41;
export const NAK = 42;
export const cause = (code: number) => Buffer.from([101, 6, 0, 0, code >> 8, code & 255]);

/** Requests that are not signed as RFC 5176 wants are dropped, as a router drops them. */
export async function fakeNas(behave: (request: Request) => void, host = '127.0.0.1', port = 0): Promise<FakeNas> {
  const secret = randomBytes(12).toString('hex');
  const seen = new Map<string, number>();
  const requests: Request[] = [];
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (packet, from) => {
    if (!isSigned(packet, secret)) return;
    const name = `${from.port} ${packet.toString('hex')}`;
    seen.set(name, (seen.get(name) ?? 0) + 1);
    const request: Request = {
      packet,
      identifier: packet[1]!,
      attributes: attributesOf(packet),
      from,
      times: seen.get(name)!,
      reply: (code, attributes = Buffer.alloc(0), by = secret) => sign(code, packet, attributes, by),
      signature: (code, over) => {
        const attribute = Buffer.concat([Buffer.of(80, 18), Buffer.alloc(16)]);
        const authenticator = over === 'request' ? packet.subarray(4, 20) : Buffer.alloc(16);
        const answer = Buffer.concat([Buffer.of(code, packet[1]!, 0, 38), authenticator, attribute]);
        createHmac('md5', secret).update(answer).digest().copy(attribute, 2);
        return attribute;
      },
      send: (answer, delayMs = 0) => void setTimeout(() => socket.send(answer, from.port, from.address), delayMs),
    };
    requests.push(request);
    behave(request);
  });
  await new Promise<void>((done, fail) => socket.once('error', fail).bind(port, host, done));
  return {
    host,
    port: socket.address().port,
    secret,
    requests,
    async [Symbol.asyncDispose]() {
      await new Promise<void>((done) => socket.close(done));
    },
  };
}

function attributesOf(packet: Buffer): Map<number, Buffer> {
  const attributes = new Map<number, Buffer>();
  for (let at = 20; at < packet.length; at += packet[at + 1]!) {
    attributes.set(packet[at]!, packet.subarray(at + 2, at + packet[at + 1]!));
  }
  return attributes;
}

function isSigned(packet: Buffer, secret: string): boolean {
  const bare = Buffer.from(packet).fill(0, 4, 20);
  if (!createHash('md5').update(bare).update(secret).digest().equals(packet.subarray(4, 20))) return false;
  const given = attributesOf(packet).get(80);
  const at = packet.indexOf(given!);
  bare.fill(0, at, at + 16);
  return createHmac('md5', secret).update(bare).digest().equals(given!);
}

function sign(code: number, request: Buffer, attributes: Buffer, secret: string): Buffer {
  const answer = Buffer.concat([
    Buffer.of(code, request[1]!, 0, 20 + attributes.length),
    request.subarray(4, 20),
    attributes,
  ]);
  createHash('md5').update(answer).update(secret).digest().copy(answer, 4);
  return answer;
}
