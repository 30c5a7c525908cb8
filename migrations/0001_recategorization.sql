-- Up Migration

-- Every model that categorized products, with the categories that it knows.
CREATE TABLE categorizer.models (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  version text NOT NULL,
  sha256 text NOT NULL,
  categories text[] NOT NULL,
  first_used_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (version, sha256, categories)
);

-- One recategorization of the catalogue each.
CREATE TABLE categorizer.runs (
  id text PRIMARY KEY,
  -- The schedule that it belongs to, or 'manual'.
  name text NOT NULL,
  state text NOT NULL CHECK (state IN (
    'planned', 'running', 'awaiting_approval', 'applying', 'finished', 'finished_with_rejects', 'cancelled', 'failed'
  )),
  settings jsonb NOT NULL,
  model_id integer NOT NULL REFERENCES categorizer.models,
  created_at timestamptz NOT NULL DEFAULT now(),
  -- Set while the run may change anything; see runs_one_at_a_time.
  locked_since timestamptz,
  state_since timestamptz NOT NULL DEFAULT now(),
  -- How many products became what; complete from the report on.
  counts jsonb,
  report jsonb,
  -- Why it waits, or waited, for approval.
  holds jsonb,
  decided_by text,
  finished_at timestamptz,
  revert_started_at timestamptz,
  reverted_at timestamptz,
  -- Of a failed run: the state that it failed in, and why.
  failed_in text,
  error_code text,
  error_message text
);

-- Two runs at once are not possible.
CREATE UNIQUE INDEX runs_one_at_a_time ON categorizer.runs ((true)) WHERE locked_since IS NOT NULL;
CREATE INDEX runs_by_name ON categorizer.runs (name, created_at);

-- The plan of the run that was begun last: the products whose input changed, as they were read. A slice is one chunk on
-- the queue, and one transaction when it is applied. Those without a payload hold decisions of people, not for the model.
CREATE TABLE categorizer.slices (
  run_id text NOT NULL REFERENCES categorizer.runs,
  number integer NOT NULL,
  products integer NOT NULL,
  -- Numbers in a vector, and the vectors and ids as a chunk carries them.
  width integer,
  payload bytea,
  current_categories text[],
  input_hashes bytea,
  sends integer NOT NULL DEFAULT 0,
  staged_at timestamptz,
  applied_at timestamptz,
  PRIMARY KEY (run_id, number)
);
-- Numbers of float32 do not get smaller, and trying takes time.
ALTER TABLE categorizer.slices ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE categorizer.slices ALTER COLUMN input_hashes SET STORAGE EXTERNAL;

-- What the run that was begun last would do, before it does it. Emptied when the run ends.
CREATE TABLE categorizer.staged (
  slice integer NOT NULL,
  product_id text NOT NULL,
  current_category text,
  category_code text NOT NULL,
  -- Null where a person decided.
  confidence real,
  decided_by text,
  -- Set where the confidence is below the bound: a person is asked.
  review_features real[],
  input_hash bytea NOT NULL
);
CREATE INDEX staged_by_slice ON categorizer.staged (slice);

-- What the run that was begun last could not categorize.
CREATE TABLE categorizer.rejects (
  run_id text NOT NULL,
  -- As it came; null where there was none.
  product_id text,
  code text NOT NULL,
  message text NOT NULL,
  -- Set where the model was asked.
  slice integer
);
CREATE INDEX rejects_by_code ON categorizer.rejects (run_id, code);

-- The category of each product as this program knows it.
CREATE TABLE categorizer.product_categories (
  product_id text PRIMARY KEY,
  category_code text,
  -- Null where a person decided.
  confidence real,
  model_id integer,
  -- The run that set the category, and when.
  run_id text,
  changed_at timestamptz,
  -- Of the vector, the model and its categories, when it was last categorized: the same input is not sent again.
  input_hash bytea NOT NULL
);

-- Every change of a category, for ever.
CREATE TABLE categorizer.history (
  product_id text NOT NULL,
  run_id text NOT NULL,
  action text NOT NULL CHECK (action IN ('apply', 'revert')),
  slice integer NOT NULL,
  old_category text,
  new_category text,
  old_confidence real,
  new_confidence real,
  old_model_id integer,
  new_model_id integer,
  -- The run that had set the old category.
  old_run_id text,
  decided_by text,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (product_id, run_id, action)
);
CREATE INDEX history_by_run ON categorizer.history (run_id, slice);

CREATE FUNCTION categorizer.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'categorizer.history is append-only';
END
$$;
CREATE TRIGGER history_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON categorizer.history
  FOR EACH STATEMENT EXECUTE FUNCTION categorizer.refuse_change();

-- Products that a person should look at. A row with a decision, whoever wrote it, wins over the model from the next run
-- on; one without is closed when the model becomes sure of the product.
CREATE TABLE categorizer.reviews (
  product_id text PRIMARY KEY,
  -- What the model proposed; all of it null in a row that somebody else wrote.
  run_id text,
  model_id integer,
  proposed_category text,
  confidence real,
  current_category text,
  features real[],
  created_at timestamptz NOT NULL DEFAULT now(),
  decided_category text,
  decided_by text,
  decided_at timestamptz
);
CREATE INDEX reviews_undecided ON categorizer.reviews (created_at) WHERE decided_category IS NULL;

CREATE FUNCTION categorizer.sign_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
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
CREATE TRIGGER reviews_are_signed BEFORE INSERT OR UPDATE OF decided_category, decided_by, decided_at
  ON categorizer.reviews FOR EACH ROW EXECUTE FUNCTION categorizer.sign_decision();

-- A decision that is taken back, by whoever: the model is asked again, although the input is the same.
CREATE FUNCTION categorizer.ask_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE categorizer.product_categories SET input_hash = '\x' WHERE product_id = OLD.product_id;
  RETURN NULL;
END
$$;
CREATE TRIGGER reviews_are_taken_back_by_delete AFTER DELETE ON categorizer.reviews
  FOR EACH ROW WHEN (OLD.decided_category IS NOT NULL) EXECUTE FUNCTION categorizer.ask_again();
CREATE TRIGGER reviews_are_taken_back_by_update AFTER UPDATE OF decided_category ON categorizer.reviews
  FOR EACH ROW WHEN (OLD.decided_category IS NOT NULL AND NEW.decided_category IS NULL)
  EXECUTE FUNCTION categorizer.ask_again();

-- What starts runs by itself; the queue is set up from it.
CREATE TABLE categorizer.schedules (
  name text PRIMARY KEY,
  cron text NOT NULL,
  time_zone text NOT NULL,
  missed text NOT NULL CHECK (missed IN ('catch-up', 'skip')),
  settings jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- For people and for the ERP: the category of each product with its model.
CREATE VIEW categorizer.current_categories AS
SELECT c.product_id, c.category_code, c.confidence, m.version AS model_version, m.sha256 AS model_sha256, c.run_id,
  c.changed_at, c.input_hash
FROM categorizer.product_categories c LEFT JOIN categorizer.models m ON m.id = c.model_id;

-- Down Migration

DROP VIEW categorizer.current_categories;
DROP TABLE categorizer.schedules, categorizer.reviews, categorizer.history, categorizer.product_categories,
  categorizer.rejects, categorizer.staged, categorizer.slices, categorizer.runs, categorizer.models;
DROP FUNCTION categorizer.sign_decision(), categorizer.ask_again(), categorizer.refuse_change();
