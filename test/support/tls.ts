import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** For a machine called db.example, signed by no authority, until the year 2100. */
export const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBRTCB66ADAgECAgEHMAoGCCqGSM49BAMCMBUxEzARBgNVBAMMCmRiLmV4YW1w
bGUwIBcNMjAwMTAxMDAwMDAwWhgPMjEwMDAxMDEwMDAwMDBaMBUxEzARBgNVBAMM
CmRiLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATAYKGHu/p7g8So
oaPeTVSplUFJT8PNhdLimFz3LUcVj3XJxYPSsJlF4yakW7oae46pfBL/eHyjKV5s
z0DrfI8toyowKDAVBgNVHREEDjAMggpkYi5leGFtcGxlMA8GA1UdEwEB/wQFMAMB
Af8wCgYIKoZIzj0EAwIDSQAwRgIhAOfG2TjZpxJLH2/1H+57IGgtWuPd0VdZblJs
Y/YavWG2AiEAhaYWmBrqmV4sEpD5leX3g0dvo+ZRbat8vRSIF828//8=
-----END CERTIFICATE-----
`;
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgT2s5cs2mvS75SWaZ
EjKBkRd65TavJI3hLnUzQB4JwTqhRANCAATAYKGHu/p7g8SooaPeTVSplUFJT8PN
hdLimFz3LUcVj3XJxYPSsJlF4yakW7oae46pfBL/eHyjKV5sz0DrfI8t
-----END PRIVATE KEY-----
`;

const SSL_REQUEST = 80877103;
const refusal = 'SFATAL\0C28000\0Mno pg_hba.conf entry, no encryption\0\0';

/** The server as one that takes nothing but TLS, and what each client asked of it first. */
export async function tlsOnly(url: string): Promise<AsyncDisposable & { url: string; asked: ('TLS' | 'plain')[] }> {
  const { port } = new URL(url);
  const asked: ('TLS' | 'plain')[] = [];
  const open = new Set<Socket>();
  const server = createServer(async (client) => {
    open.add(client.on('error', () => {}));
    const [first] = (await once(client, 'data')) as [Buffer];
    const isTls = first.readInt32BE(4) === SSL_REQUEST;
    asked.push(isTls ? 'TLS' : 'plain');
    if (!isTls) {
      const head = Buffer.from('E\0\0\0\0');
      head.writeInt32BE(refusal.length + 4, 1);
      return void client.end(Buffer.concat([head, Buffer.from(refusal)]));
    }
    client.write('S');
    const secure = new TLSSocket(client, { isServer: true, key: KEY, cert: CERTIFICATE }).on('error', () => {});
    const onwards = connect(Number(port), '127.0.0.1').on('error', () => {});
    open.add(onwards);
    secure.pipe(onwards).pipe(secure);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const place = new URL(url);
  place.port = String((server.address() as AddressInfo).port);
  return {
    url: place.href,
    asked,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}
