-- Changes rows in pieces, so that a row which cannot be changed is found and leaves the others as they would be without it.
-- A piece that fails is undone and halved until its first failing row stands alone; what comes after that row goes back to
-- the rest. Here in the server, as each trial would otherwise cost four round trips and the planning of the statement anew.
--
-- The statement is one of the program's own, never data, and answers one text. Of its parameters $1 are the places and $2 the ids of a piece. The
-- answer tells of consecutive rows, from the first one on: so many as one piece, or one with the error that it alone met.
-- It ends when patience does: what is not told of was not touched.
create function scheduler.try_pieces(
  statement text, parameters text[], places text[], ids text[], piece integer, keep boolean, blames_row text, patience interval
)
returns table (rows integer, error text, result text)
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
  -- So many rows from the first one on have failed together.
  suspects integer := 0;
  answer text;
  clean boolean;
begin
  -- Prepared statements outlive a transaction. One may be left where a pooler has let go of a connection that broke.
  if exists (select from pg_prepared_statements where name = 'scheduler_piece') then
    deallocate scheduler_piece;
  end if;
  execute 'prepare scheduler_piece (tid[], text[]) as ' || statement;
  while first <= total and clock_timestamp() < until loop
    rows := least(case when suspects > 0 then greatest(suspects / 2, 1) else size end, total - first + 1);
    clean := false;
    begin
      execute format(
        'execute scheduler_piece (%L, %L%s)', places[first:first + rows - 1], ids[first:first + rows - 1], constants
      ) into answer;
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
        error := sqlerrm;
    end;
    if clean then
      error := null;
      result := case when keep then answer end;
      return next;
      first := first + rows;
      if suspects > 0 then
        suspects := suspects - rows;
      else
        size := size + 4;
      end if;
    elsif rows = 1 then
      result := null;
      return next;
      first := first + 1;
      suspects := 0;
      -- Small steps up and halving down: that settles on pieces that suit how many rows fail.
      size := greatest(size / 2, 1);
    else
      suspects := rows;
    end if;
  end loop;
  deallocate scheduler_piece;
end
$$;
