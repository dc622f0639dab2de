import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { loadJobs } from '../../src/jobs/index.ts';
import { type Machine, machine } from './machine.ts';

// The shells themselves, asked what they would offer at the end of a line.

let m: Machine;
before(async () => {
  m = await machine();
  await m.install('zsh', 'fish');
  await m.installPackage();
  await m.must('mkdir -p /root/.config/fish/completions /root/zsh');
  await m.must('scheduler completion fish > /root/.config/fish/completions/scheduler.fish');
  await m.must('scheduler completion zsh > /root/zsh/_scheduler');
  await m.put('/root/inside.zsh', ZSH_INSIDE);
  await m.put('/root/outside.zsh', ZSH_OUTSIDE);
});
after(() => m[Symbol.asyncDispose]());

const jobs = async () => (await loadJobs()).map(({ name }) => name);

async function fish(line: string): Promise<string[]> {
  const out = await m.must('fish -c "complete -C \\"$LINE\\""', { env: { LINE: line } });
  return out
    .split('\n')
    .filter(Boolean)
    .map((each) => each.split('\t')[0]!);
}

// An interactive zsh on a terminal of its own, in which Tab is pressed; what it is given to choose from ends up in a file.
const ZSH_INSIDE = `
PROMPT= fpath=(/root/zsh $fpath)
autoload -U compinit && compinit -u -D
compadd() {
  local -a offered
  [[ " $*" == *" -"[OAD]" "* ]] || { builtin compadd -A offered "$@"; print -rl -- $offered >>/tmp/offered }
  builtin compadd "$@"
}
press-tab() { zle complete-word; : >/tmp/pressed }
zle -N press-tab
bindkey '^I' press-tab
: >/tmp/ready`;
const ZSH_OUTSIDE = `
zmodload zsh/zpty
rm -f /tmp/offered /tmp/pressed /tmp/ready
until_there() { for ((n = 0; n < 500; n++)) { zpty -rt shell said; [[ -e $1 ]] && return; sleep 0.02 }; return 1 }
: >/tmp/offered
zpty shell zsh -f -i
zpty -w shell 'source /root/inside.zsh'
until_there /tmp/ready || exit 3
zpty -wn shell "$LINE"$'\\t'
until_there /tmp/pressed || exit 4
sort -u /tmp/offered
`;
async function zsh(line: string): Promise<string[]> {
  const out = await m.must('zsh -f /root/outside.zsh', { env: { LINE: line, TERM: 'dumb' } });
  return out.split('\n').filter(Boolean);
}

test('fish reads its script without complaint and completes commands, options, jobs and files', async () => {
  const { code, out, err } = await m.run('fish --no-execute /root/.config/fish/completions/scheduler.fish');
  assert.deepEqual([code, out, err], [0, '', '']);
  const sorted = async () => (await jobs()).sort();
  assert.deepEqual(await fish('scheduler sta'), ['start', 'status']);
  assert.deepEqual(await fish('scheduler --env-file /x --debug his'), ['history']);
  assert.deepEqual((await fish('scheduler tick --d')).sort(), ['--database-url', '--debug', '--dry-run']);
  assert.deepEqual((await fish('scheduler stop ')).sort(), await sorted());
  assert.deepEqual(await fish('scheduler stop packages '), []);
  assert.deepEqual((await fish('scheduler events ')).sort(), await sorted());
  assert.deepEqual(await fish('scheduler migrate --create=v'), ['--create=vouchers']);
  assert.deepEqual(await fish('scheduler failures re'), ['retry']);
  assert.deepEqual(await fish('scheduler --env-file /etc/os-r'), ['/etc/os-release']);
  assert.deepEqual(await fish('scheduler apply /etc/os-r'), ['/etc/os-release']);
  assert.deepEqual((await fish('scheduler failures retry ')).sort(), await sorted());
  assert.deepEqual(await fish('scheduler failures packages '), []);
  assert.deepEqual(await fish('scheduler tick --at '), []);
});

test('zsh reads its script without complaint and completes commands, options, jobs and files', async () => {
  const { code, out, err } = await m.run('zsh -n /root/zsh/_scheduler');
  assert.deepEqual([code, out, err], [0, '', '']);
  const sorted = (await jobs()).sort();
  assert.deepEqual(await zsh('scheduler sta'), ['start', 'status']);
  assert.deepEqual(await zsh('scheduler --env-file /x --debug his'), ['history']);
  assert.deepEqual(await zsh('scheduler tick --d'), ['--database-url', '--debug', '--dry-run']);
  assert.deepEqual(await zsh('scheduler stop '), sorted);
  const left = await zsh('scheduler stop packages ');
  assert.ok(left.includes('--reason') && left.every((each) => each.startsWith('-')), 'only options are left to give');
  assert.deepEqual(await zsh('scheduler events '), sorted);
  assert.deepEqual(await zsh('scheduler migrate --create=v'), ['vouchers']);
  assert.deepEqual(await zsh('scheduler failures re'), ['retry']);
  assert.deepEqual(await zsh('scheduler --env-file /etc/os-r'), ['os-release']);
  assert.deepEqual(await zsh('scheduler apply /etc/os-r'), ['os-release']);
  assert.deepEqual(await zsh('scheduler failures retry '), sorted);
  assert.deepEqual(
    (await zsh('scheduler failures packages ')).filter((each) => !each.startsWith('-')),
    [],
  );
  assert.deepEqual(await zsh('scheduler tick --at '), []);
});
