-- The rules have the names of the contract.
UPDATE people SET add_rule = 'anyone' WHERE add_rule = 'everybody';
UPDATE people SET add_rule = 'no_one' WHERE add_rule = 'nobody';
