-- The runs of those in a chain whose links came before this one: JSON object of names and runs; NULL when there are none.
ALTER TABLE tokens ADD COLUMN earlier_runs TEXT;
-- The agent that may act next with a token that opens connections.
ALTER TABLE tokens ADD COLUMN may_act TEXT;
