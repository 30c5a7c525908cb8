-- Up Migration

-- What could not be written to the ERP is in the history too, under actions of its own, so that nothing takes it for a
-- change of ours. `new_category` is what the product really has by then, and null where it is gone.
ALTER TABLE categorizer.history
  DROP CONSTRAINT history_action_check,
  ADD CONSTRAINT history_action_check CHECK (action IN ('apply', 'revert', 'not_applied', 'not_reverted')),
  ADD COLUMN wanted_category text,
  ADD COLUMN reason text CHECK (reason IN ('changed', 'gone', 'locked', 'untouched'));

-- Set where a slice is written in several transactions, for each product whose transaction is committed.
ALTER TABLE categorizer.staged ADD COLUMN settled boolean NOT NULL DEFAULT false;

-- Rows that the ERP's own statement touched beyond the changes, where nobody can tell what they are.
ALTER TABLE categorizer.slices ADD COLUMN excess_rows bigint NOT NULL DEFAULT 0;

-- What became of the changes: how many were written, and how many were not and why. Null before the end, and of dry runs.
ALTER TABLE categorizer.runs ADD COLUMN applied jsonb;

-- A decision that met a category which the ERP had set after it: it rests until somebody decides again, or the ERP changes
-- the category once more.
ALTER TABLE categorizer.reviews
  ADD COLUMN overruled_at timestamptz,
  ADD COLUMN overruled_category text;

CREATE OR REPLACE FUNCTION categorizer.sign_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- Whoever writes a decision means it, though it be the same as before.
  NEW.overruled_at := NULL;
  NEW.overruled_category := NULL;
  IF NEW.decided_category IS NULL THEN
    NEW.decided_by := NULL;
    NEW.decided_at := NULL;
  ELSE
    -- Another decision has another time. Whether its name was said again cannot be seen here: it stays.
    IF TG_OP = 'UPDATE' AND NEW.decided_category IS DISTINCT FROM OLD.decided_category
        AND NEW.decided_at IS NOT DISTINCT FROM OLD.decided_at THEN
      NEW.decided_at := NULL;
    END IF;
    NEW.decided_by := coalesce(NEW.decided_by, session_user);
    NEW.decided_at := coalesce(NEW.decided_at, now());
  END IF;
  RETURN NEW;
END
$$;

-- Whoever may write reviews needs no right to any other table for it.
ALTER FUNCTION categorizer.ask_again() SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

-- Down Migration

ALTER FUNCTION categorizer.ask_again() SECURITY INVOKER RESET search_path;
CREATE OR REPLACE FUNCTION categorizer.sign_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.decided_category IS NULL THEN
    NEW.decided_by := NULL;
    NEW.decided_at := NULL;
  ELSE
    IF TG_OP = 'UPDATE' AND NEW.decided_category IS DISTINCT FROM OLD.decided_category
        AND NEW.decided_at IS NOT DISTINCT FROM OLD.decided_at THEN
      NEW.decided_at := NULL;
    END IF;
    NEW.decided_by := coalesce(NEW.decided_by, session_user);
    NEW.decided_at := coalesce(NEW.decided_at, now());
  END IF;
  RETURN NEW;
END
$$;
ALTER TABLE categorizer.reviews DROP COLUMN overruled_at, DROP COLUMN overruled_category;
ALTER TABLE categorizer.runs DROP COLUMN applied;
ALTER TABLE categorizer.slices DROP COLUMN excess_rows;
ALTER TABLE categorizer.staged DROP COLUMN settled;
-- Without what was not written: the history itself forbids that any of it is removed.
ALTER TABLE categorizer.history
  DROP COLUMN wanted_category,
  DROP COLUMN reason,
  DROP CONSTRAINT history_action_check,
  ADD CONSTRAINT history_action_check CHECK (action IN ('apply', 'revert')) NOT VALID;
