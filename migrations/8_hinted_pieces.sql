-- Changes rows in pieces, so that a row which cannot be changed is found and leaves the others as they would be without it.
-- A piece that fails is undone and taken apart until its first failing row stands alone; what comes after that row goes back
-- to the rest. Here in the server, as each trial would otherwise cost four round trips and the planning of the statement
-- anew; and what happened to the rows stays here too, for the statement that asks, as sending it to and fro would cost as
-- much as the change.

create type scheduler.outcome as (
  step integer, transition text, type text, entity_id text, due_at timestamptz, channels text[], data jsonb
);
create type scheduler.refusal as (id text, error text);

-- The function of this name with fewer parameters stays, for a program of the version before that still runs meanwhile.
-- The statement is one of the program's own, never data, and answers one row: outcome, refused. Of its parameters $1 are the
-- places and $2 the ids of a piece. The answer tells of consecutive rows, from the first one on: so many as one piece, or one
-- that is refused with the error that it alone met. It ends when patience does: what is not told of was not touched.
create function scheduler.try_pieces(
  statement text, parameters text[], places text[], ids text[], changing regclass, piece integer, keep boolean, blames_row text,
  patience interval
)
returns table (rows integer, outcome scheduler.outcome[], refused scheduler.refusal[])
language plpgsql
-- Planned once for all pieces; a plan for each would cost more than the piece.
set plan_cache_mode = force_generic_plan
as $$
declare
  until constant timestamptz := clock_timestamp() + patience;
  constants constant text := (
    select string_agg(', ' || quote_nullable(value), '' order by n) from unnest(parameters) with ordinality as p (value, n)
  );
  total constant integer := cardinality(ids);
  size integer := piece;
  first integer := 1;
  -- So many rows from the first one on have failed together,
  suspects integer := 0;
  -- and so many of them seem to come before the one that fails. Null: no idea.
  ahead bigint;
  -- Once such an idea was wrong, halving is the better way.
  guessing boolean := true;
  -- What counts how far a statement came. The statistics of a transaction have what was undone, too: the rows changed before
  -- one was refused; and for a foreign key, looked at once all are changed, the searches in the index that it refers to.
  changed bigint;
  searched bigint;
  searching oid;
  clean boolean;
  reason text;
  state text;
  refusing text;
begin
  -- Prepared statements outlive a transaction. One may be left where a pooler has let go of a connection that broke.
  if exists (select from pg_prepared_statements where name = 'scheduler_piece') then
    deallocate scheduler_piece;
  end if;
  execute 'prepare scheduler_piece (tid[], text[]) as ' || statement;
  while first <= total and clock_timestamp() < until loop
    rows := least(
      case when suspects = 0 then size when ahead is null then greatest(suspects / 2, 1) else greatest(ahead, 1) end,
      total - first + 1
    );
    clean := false;
    changed := pg_stat_get_xact_tuples_updated(changing);
    searched := pg_stat_get_xact_numscans(searching);
    begin
      execute format(
        'execute scheduler_piece (%L, %L%s)', places[first:first + rows - 1], ids[first:first + rows - 1], constants
      ) into outcome, refused;
      set constraints all immediate;
      clean := true;
      if not keep then
        raise exception 'undone, as a trial is';
      end if;
    exception
      -- Raised anew: the context of the first one would tell the server's log all parameters, passwords among them.
      when query_canceled then
        deallocate scheduler_piece;
        raise exception using errcode = sqlstate, message = sqlerrm;
      when others or assert_failure then
        if not clean and sqlstate !~ blames_row then
          deallocate scheduler_piece;
          raise exception using errcode = sqlstate, message = sqlerrm;
        end if;
        reason := sqlerrm;
        state := sqlstate;
        get stacked diagnostics refusing = constraint_name;
    end;
    if clean then
      return next;
      first := first + rows;
      if suspects = 0 then
        size := size + 6;
      else
        suspects := suspects - rows;
        if ahead = 0 then
          guessing := false;
          ahead := null;
        else
          ahead := ahead - rows;
        end if;
      end if;
    elsif rows = 1 then
      outcome := null;
      refused := array[row(ids[first], reason)::scheduler.refusal];
      return next;
      first := first + 1;
      suspects := 0;
      ahead := null;
      -- Small steps up and halving down: that settles on pieces that suit how many rows fail.
      size := greatest(size / 2, 1);
    else
      guessing := guessing and ahead is null;
      suspects := rows;
      changed := pg_stat_get_xact_tuples_updated(changing) - changed;
      searched := pg_stat_get_xact_numscans(searching) - searched;
      ahead := case
        when not guessing then null
        -- These are refused when they are there already.
        when state in ('23505', '23P01') then changed - 1
        when changed < rows then changed
        else searched - 1
      end;
      if ahead not between 0 and rows - 1 then
        ahead := null;
      end if;
      if state = '23503' then
        searching := (select conindid from pg_constraint where conrelid = changing and conname = refusing);
      end if;
    end if;
  end loop;
  deallocate scheduler_piece;
end
$$;
