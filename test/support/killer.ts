import { connect, createServer, type Socket } from 'node:net';

export interface Killer extends Disposable {
  /** The database, by way of the proxy. */
  url: string;
  /** The step has been reached. */
  killed(): boolean;
}

/**
 * A way to the database that kills its user at one of the user's steps. A request is two steps, on whichever connection:
 * the first when it has gone to the server, the second when its answer is here. The user never gets that last answer.
 *
 * Login is no step: nothing is at stake yet. Saying goodbye is none either: the user may be gone before it is seen here.
 */
export async function killer(databaseUrl: string, lastStep: number, kill: () => void): Promise<Killer> {
  const sockets: Socket[] = [];
  let steps = 0;
  const step = () => ++steps === lastStep;

  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ ...addressOf(databaseUrl), noDelay: true });
    // The first message of a client has no letter.
    const requests = counter(REQUEST_ENDS, Buffer.alloc(1));
    const answers = counter(ANSWER_ENDS);
    let asked = false;
    client.on('data', (chunk) => {
      const asks = requests(chunk) > 0;
      if (asks) asked = true;
      const last = asks && step();
      upstream.write(chunk, () => last && kill());
    });
    upstream.on('data', (chunk) => {
      if (answers(chunk) > 0 && asked && step()) kill();
      else client.write(chunk);
    });
    for (const socket of [client, upstream]) sockets.push(socket.on('error', () => {}));
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  const url = new URL(databaseUrl);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as { port: number }).port);
  return {
    url: url.href,
    killed: () => steps >= lastStep,
    [Symbol.dispose]: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

// The letters of PostgreSQL's protocol. With parameters, a request is several messages, and Sync is the last of them.
const REQUEST_ENDS = 'QS'; // Query, Sync
const ANSWER_ENDS = 'Z'; // ReadyForQuery

/** Counts the messages with these letters in a stream that comes in pieces. A message's length counts itself, not its letter. */
function counter(letters: string, before = Buffer.alloc(0)): (chunk: Buffer) => number {
  let rest = before;
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    let found = 0;
    while (rest.length >= 5 && rest.length > rest.readInt32BE(1)) {
      if (letters.includes(String.fromCharCode(rest[0]!))) found++;
      rest = rest.subarray(1 + rest.readInt32BE(1));
    }
    return found;
  };
}

/** A host that is a path is the folder of a socket. */
function addressOf(databaseUrl: string) {
  const { hostname, port } = new URL(databaseUrl);
  const host = decodeURIComponent(hostname);
  return host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port: Number(port) };
}
