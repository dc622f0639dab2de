import type pg from 'pg';
import type { Settings } from '../base/config.ts';

/** As libpq's channel_binding=require and require_auth=scram-sha-256 mean it. */
type Demand = NonNullable<Settings['connection']['demand']>;

/** Ends the connection before a password leaves it in another way than that. It answers a function that throws if it came to that. */
export function insistOn(demand: Demand, client: pg.Client): () => void {
  const connection = client.connection as unknown as NodeJS.EventEmitter & { stream: { destroy(error: Error): void } };
  let isProven = false;
  let refusal: Error | undefined;
  const refuse = (how: string) => {
    refusal = Object.assign(new Error(`${how}, and the settings demand ${WORDS[demand]}`), { code: '28000' });
    connection.stream.destroy(refusal);
  };
  connection.prependListener('authenticationCleartextPassword', () => refuse('it asks for the password in clear text'));
  connection.prependListener('authenticationMD5Password', () => refuse('it asks for the password as MD5'));
  connection.prependListener('authenticationSASL', ({ mechanisms }: { mechanisms: string[] }) => {
    if (demand === 'binding' && !mechanisms.includes('SCRAM-SHA-256-PLUS')) refuse('it offers no channel binding');
  });
  connection.prependListener('authenticationSASLFinal', () => {
    isProven = true;
  });
  connection.prependListener('authenticationOk', () => {
    if (!isProven) refuse('it lets anybody in without a proof of its own');
  });
  return () => {
    if (refusal) throw refusal;
  };
}

const WORDS: Record<Demand, string> = { scram: 'SCRAM', binding: 'SCRAM with channel binding' };
