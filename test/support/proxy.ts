import { connect, createServer, type Socket } from 'node:net';

export interface Proxy extends Disposable {
  url: string;
  /** As a router that forgot its connections: bytes vanish, and nobody is told. New ones go through, unless told otherwise. */
  freeze(andNewOnes?: 'too'): void;
  cut(): void;
  /** Cuts when the server has said so much; once. */
  cutAfter(bytes: number): void;
  mend(): void;
  /** How often somebody asked and the server answered. */
  roundTrips(): number;
}

/** A way to the database that a test can cut or freeze. */
export async function proxy(databaseUrl: string): Promise<Proxy> {
  const target = new URL(databaseUrl);
  const sockets: Socket[] = [];
  let state: 'open' | 'shut' | 'mute' = 'open';
  let allowed = Number.POSITIVE_INFINITY;
  let roundTrips = 0;
  const server = createServer((client) => {
    if (state === 'shut') return void client.destroy();
    sockets.push(client.on('error', () => {}));
    if (state === 'mute') return void client.pause();
    const upstream = connect(Number(target.port), target.hostname);
    sockets.push(upstream.on('error', () => {}));
    let asked = false;
    client.on('data', () => {
      asked = true;
    });
    upstream.on('data', (chunk) => {
      if (asked) roundTrips++;
      asked = false;
      allowed -= chunk.length;
      if (allowed > 0) return;
      allowed = Number.POSITIVE_INFINITY;
      for (const socket of [client, upstream]) socket.destroy();
    });
    client.pipe(upstream).pipe(client);
    // A connection whose client has gone is gone, too.
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(databaseUrl);
  url.port = String((server.address() as { port: number }).port);
  return {
    url: url.href,
    freeze: (andNewOnes) => {
      if (andNewOnes) state = 'mute';
      for (const socket of sockets) socket.unpipe().pause();
    },
    cut: () => {
      state = 'shut';
      for (const socket of sockets.splice(0)) socket.destroy();
    },
    cutAfter: (bytes) => {
      allowed = bytes;
    },
    mend: () => {
      state = 'open';
    },
    roundTrips: () => roundTrips,
    [Symbol.dispose]: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
