package page

import (
	"github.com/uptrace/bun"

	"github.com/trackway/trackway/services/platform/postgres"
)

// Relevance is the order by how well rows match a search, rising as every order does: "-relevance" has the best first.
const Relevance = "relevance"

// Searched is the list of what a search finds, if there is one: it can be ordered by relevance, and the best match
// comes first when no order is asked for. relevance gives what Search has selected for a row.
func (l List[T]) Searched(search string, relevance func(T) int64) List[T] {
	if search == "" {
		return l
	}
	return append(l, Field[T]{
		Name: Relevance, Expr: Relevance, Kind: Int, Value: func(row T) any { return relevance(row) }, best: true,
	})
}

// Search narrows s to the rows of the model whose column search has, for each word of the search, a word that begins
// with it; s is as it was if there is no search. Beside the columns that s selects already it selects relevance: whole
// words count more than beginnings, words with a heavier weight in the column more than others, and words in a short text
// more than in a long one.
//
// The relevance is an integer, so that a cursor holds it exactly, and depends on nothing but the row and the words: a
// place in the list stays where it is while other rows come and go. Each page reads all that the search finds.
func Search(s *bun.SelectQuery, search string) *bun.SelectQuery {
	if search == "" {
		return s
	}
	prefixes, words := postgres.Prefixes(search), postgres.Words(search)
	const (
		byLength = 1 // ts_rank then divides by 1 + the logarithm of the text's length
		whole    = 3 // what whole words count beside counting as beginnings: enough to outweigh the length of a line
	)
	//nolint:unqueryvet // the columns are named by the selection around it, into which Postgres dissolves this one
	return s.
		ModelTableExpr(`(SELECT *, ((ts_rank(search, to_tsquery('simple', ?0), ?2) +
			ts_rank(search, to_tsquery('simple', ?1), ?2) * ?3) * 1000000)::bigint AS relevance FROM ?TableName) AS ?TableAlias`,
			prefixes, words, byLength, whole).
		Where("?TableAlias.search @@ to_tsquery('simple', ?)", postgres.Literal(prefixes)).
		ColumnExpr("?TableAlias.relevance")
}
