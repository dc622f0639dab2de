import assert from 'node:assert/strict';
import { test } from 'node:test';
import { columnsRead, seen } from '../../src/inspect/explain/seen.ts';
import { job } from '../../src/jobs/hotspot/credentials.ts';

const SECRETS = ['password', 'passwd', 'secret', 'token', 'code', 'pin', 'otp', 'key', 'value'];
const PHONES = ['phone_number', 'msisdn', 'mobile', 'whatsapp_id'];

test('each word for a secret keeps its column unread, and each word for a phone masks it', () => {
  const names = [...SECRETS, 'sms_pin', 'api_key', ...PHONES, 'username', 'price'];
  const read = columnsRead(
    job,
    names.map((name) => `r."${name}"`),
  );
  const shown = names.filter((name) => read.includes(`to_jsonb(r."${name}")`));
  assert.deepEqual(shown, [...PHONES, 'username', 'price']);
  const of = (name: string, value: string) =>
    seen({ job } as Parameters<typeof seen>[0], `r."${name}"`, { value: { [name]: value } }, '')[name];
  for (const name of [...PHONES, 'username']) assert.equal(of(name, '254712345678'), '2547****678', name);
  assert.equal(of('username', 'alice'), 'alice');
  assert.equal(of('price', 'x'.repeat(100)), `${'x'.repeat(80)}…`);
});
