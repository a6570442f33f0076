module carvelwright.dev/tools/vulndb

go 1.26.4

// Its files in data/osv are the database; nothing of it is compiled.
require golang.org/x/vulndb v0.0.0-20261105234957-e22db6528018
