import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maskPhone } from '../../../src/base/mask.ts';
import { newPassword, newUsername } from '../../../src/jobs/hotspot/secrets.ts';

test('a password holds no character that is mistaken for another, and at least 40 bits', () => {
  const passwords = Array.from({ length: 5000 }, newPassword);
  const letters = new Set(passwords.join(''));
  for (const confusing of '01258bgilmoqsuwz') assert.ok(!letters.has(confusing), confusing);
  for (const password of passwords) assert.ok(password.length * Math.log2(letters.size) >= 40, password);
  assert.equal(new Set(passwords).size, passwords.length);
});

test('every character of a password is equally likely', () => {
  const counts = new Map<string, number>();
  for (let n = 0; n < 5000; n++) for (const letter of newPassword()) counts.set(letter, (counts.get(letter) ?? 0) + 1);
  const expected = 50_000 / counts.size;
  for (const [letter, count] of counts) assert.ok(Math.abs(count - expected) < expected * 0.15, `${letter}: ${count}`);
});

test('usernames can be typed as they are and are seldom alike', () => {
  const names = Array.from({ length: 5000 }, newUsername);
  for (const name of names) assert.match(name, /^[a-z3-9]{8}$/);
  assert.equal(new Set(names).size, names.length);
});

test('a masked phone number of twelve digits shows its first four and last three', () => {
  assert.equal(maskPhone('+254712345678'), '+2547****678');
  assert.equal(maskPhone('254 712 345 678'), '2547****678');
});

test('a short number keeps most of itself to itself', () => {
  assert.equal(maskPhone('0712345678'), '****678');
  assert.equal(maskPhone('07123456789'), '****789');
  assert.equal(maskPhone('712345'), '****45');
  assert.equal(maskPhone('999'), '****');
  assert.equal(maskPhone(''), '****');
});
