package graph

import (
	"context"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/trackway/trackway/services/platform/page"
)

// What an operation may cost. An operation that may cost more is refused before it runs, and what takes time to
// validate is refused before that: gqlgen's own limits come after the validator, which fragments that spread
// each other twice keep busy for ever, and know nothing of the size of lists.
const (
	// maxDocument is the longest document, in bytes.
	maxDocument = 64 << 10
	// maxTokens is how many tokens a document may have.
	maxTokens = 8000
	// maxFields is how many fields and fragments a document may have once every spread is replaced by its fragment.
	maxFields = 1000
	// maxPairs is how many pairs of fields of one name, or of spreads, may stand in the same place of a document, since
	// the validator compares each with each.
	maxPairs = 10_000
	// maxValues is how many values the variables may have: as many as are in ten changes of a hundred tasks each.
	maxValues = 20_000
	// maxDepth is how deep fields may nest; graphql-js' introspection query takes 15.
	maxDepth = 20
	// maxAliases is how many fields may have an alias, counted like maxFields.
	maxAliases = 100
	// maxDirectives is how many directives a document may have.
	maxDirectives = 100
	// maxMutations is how many changes one operation may make.
	maxMutations = 10
	// maxNodes is how many ids `nodes` takes.
	maxNodes = 100
	// maxSessions, maxInvitations and maxAccessTokens are how many of each a list without pages gives.
	maxSessions     = 200
	maxInvitations  = 200
	maxAccessTokens = 100
	// maxPrice is how many fields the answer may have, if every list is as long as it may be.
	maxPrice = 50_000
	// introspectionPrice is for one __schema or __type. It is about what tools ask for, and is paid once more for each
	// alias in it: the validator bounds how deep types nest there, and so how long an answer is, unless it has all twice.
	introspectionPrice = maxPrice / 4
	// defaultPage is the size of a page when nobody says.
	defaultPage = 20
	// maxErrors is how many mistakes of a document are told: there can be one a token.
	maxErrors = 20
	// maxCached is how long the documents may be, in bytes and together, that are kept parsed and validated. A parsed
	// document takes up to a hundred times its length.
	maxCached = 1 << 20
)

// Codes of the errors about an operation, beside gqlgen's GRAPHQL_PARSE_FAILED and GRAPHQL_VALIDATION_FAILED.
const (
	codeTooComplex = "QUERY_TOO_COMPLEX"
	codeInvalid    = "INVALID"
)

// limits is the gqlgen extension that holds operations to them.
type limits struct {
	checked    *documents
	hideSchema bool
}

var (
	_ graphql.OperationParameterMutator = limits{}
	_ graphql.OperationContextMutator   = limits{}
)

// ExtensionName names the extension.
func (limits) ExtensionName() string { return "limits" }

// Validate has nothing to check.
func (limits) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationParameters refuses documents that would cost too much to validate. It parses them for itself, unless
// they have been checked before.
func (l limits) MutateOperationParameters(ctx context.Context, p *graphql.RawParams) *gqlerror.Error {
	if doc, ok := l.checked.Get(ctx, p.Query); ok {
		return named(doc, p.OperationName)
	}
	if len(p.Query) > maxDocument {
		return refused(nil, codeTooComplex, "The document has more than %d bytes.", maxDocument)
	}
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: p.Query}, maxTokens)
	if err != nil {
		return nil //nolint:nilerr // gqlgen parses again, and words the error
	}
	if err := measure(doc); err != nil {
		return err
	}
	return named(doc, p.OperationName)
}

// named refuses a document of several operations when none is named.
func named(doc *ast.QueryDocument, operation string) *gqlerror.Error {
	if len(doc.Operations) > 1 && operation == "" {
		return refused(nil, errcode.ValidationFailed, "The document has several operations: name the one to run.")
	}
	return nil
}

// size is what a selection set is, with its fragments in place.
type size struct{ fields, aliases, depth int }

func (s *size) add(o size) {
	s.fields, s.aliases = min(s.fields+o.fields, maxFields+1), min(s.aliases+o.aliases, maxAliases+1)
	s.depth = max(s.depth, o.depth)
}

// ruler measures a document. Each fragment is measured once, however often it is spread.
type ruler struct {
	fragments map[string]*ast.FragmentDefinition
	measured  map[string]*size // nil while the fragment is being measured
	applied   int              // directives
	err       *gqlerror.Error
}

func measure(doc *ast.QueryDocument) *gqlerror.Error {
	r := &ruler{fragments: make(map[string]*ast.FragmentDefinition), measured: make(map[string]*size)}
	for _, f := range doc.Fragments {
		r.fragments[f.Name] = f
	}
	var all size
	for _, op := range doc.Operations {
		r.directives(op.Directives)
		for _, v := range op.VariableDefinitions {
			r.value(v.DefaultValue)
			r.directives(v.Directives)
		}
		all.add(r.selections(op.SelectionSet))
	}
	// The validator looks into fragments that nothing spreads, too.
	for _, f := range doc.Fragments {
		if _, ok := r.measured[f.Name]; !ok {
			all.add(r.fragment(f))
		}
	}
	switch {
	case r.err != nil:
		return r.err
	case all.depth > maxDepth:
		return refused(nil, codeTooComplex, "Fields nest more than %d deep.", maxDepth)
	case all.fields > maxFields:
		return refused(nil, codeTooComplex, "There are more than %d fields.", maxFields)
	case r.applied > maxDirectives:
		return refused(nil, codeTooComplex, "There are more than %d directives.", maxDirectives)
	case all.aliases > maxAliases:
		return refused(nil, codeTooComplex, "There are more than %d aliases.", maxAliases)
	}
	pairs := 0
	for _, op := range doc.Operations {
		pairs += r.pairs(op.SelectionSet)
	}
	for _, f := range doc.Fragments {
		pairs += r.pairs(f.SelectionSet)
	}
	if pairs > maxPairs {
		return refused(nil, codeTooComplex, "The same fields are selected too often.")
	}
	return nil
}

// pairs counts the pairs of fields and spreads in selection sets that stand in the same place. It takes a time linear
// in the size of the document, which is bounded by then.
func (r *ruler) pairs(sets ...ast.SelectionSet) int {
	fields := make(map[string][]ast.SelectionSet)
	seen := make(map[string]bool)
	fragments := 0
	var flatten func(ast.SelectionSet)
	flatten = func(set ast.SelectionSet) {
		for _, selection := range set {
			switch s := selection.(type) {
			case *ast.Field:
				fields[s.Alias] = append(fields[s.Alias], s.SelectionSet)
			case *ast.InlineFragment:
				flatten(s.SelectionSet)
			case *ast.FragmentSpread:
				fragments++
				if f := r.fragments[s.Name]; f != nil && !seen[s.Name] {
					seen[s.Name] = true
					flatten(f.SelectionSet)
				}
			}
		}
	}
	for _, set := range sets {
		flatten(set)
	}
	sum := fragments * (fragments - 1) / 2
	for _, same := range fields {
		sum += len(same)*(len(same)-1)/2 + r.pairs(same...)
	}
	return sum
}

func (r *ruler) fail(at *ast.Position, code, format string, args ...any) {
	if r.err == nil {
		r.err = refused(at, code, format, args...)
	}
}

func (r *ruler) fragment(f *ast.FragmentDefinition) size {
	r.measured[f.Name] = nil
	r.directives(f.Directives)
	s := r.selections(f.SelectionSet)
	r.measured[f.Name] = &s
	return s
}

func (r *ruler) selections(set ast.SelectionSet) (sum size) {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			inner := r.selections(s.SelectionSet)
			inner.fields++
			inner.depth++
			if s.Alias != s.Name {
				inner.aliases++
			}
			sum.add(inner)
			r.directives(s.Directives)
			r.arguments(s.Arguments)
		case *ast.InlineFragment:
			r.directives(s.Directives)
			sum.add(size{fields: 1})
			sum.add(r.selections(s.SelectionSet))
		case *ast.FragmentSpread:
			r.directives(s.Directives)
			sum.add(size{fields: 1})
			known, seen := r.measured[s.Name]
			definition := r.fragments[s.Name]
			switch {
			case definition == nil: // the validator says so
			case !seen:
				sum.add(r.fragment(definition))
			case known == nil:
				r.fail(s.Position, codeTooComplex, "Fragment %q spreads itself.", s.Name)
			default:
				sum.add(*known)
			}
		}
	}
	return sum
}

func (r *ruler) directives(list ast.DirectiveList) {
	r.applied += len(list)
	for _, d := range list {
		r.arguments(d.Arguments)
	}
}

func (r *ruler) arguments(list ast.ArgumentList) {
	for _, a := range list {
		r.value(a.Value)
	}
}

// value refuses numbers that do not fit, on which gqlgen panics.
func (r *ruler) value(v *ast.Value) {
	if v == nil {
		return
	}
	var err error
	switch v.Kind { //nolint:exhaustive // only numbers can be out of range
	case ast.IntValue:
		_, err = strconv.ParseInt(v.Raw, 10, 64)
	case ast.FloatValue:
		_, err = strconv.ParseFloat(v.Raw, 64)
	}
	if err != nil {
		r.fail(v.Position, codeInvalid, "This number is out of range.")
	}
	for _, c := range v.Children {
		r.value(c.Value)
	}
}

// MutateOperationContext refuses operations whose answer may be too large. Sizes of pages may be variables, so this is
// done for each request.
func (l limits) MutateOperationContext(ctx context.Context, op *graphql.OperationContext) *gqlerror.Error {
	p := &pricer{variables: op.Variables, fragments: make(map[fragmentPage]int)}
	total := p.selections(op.Operation.SelectionSet, 1)
	op.Stats.SetExtension(costExtension, total)
	switch {
	case p.introspects && l.hideSchema:
		return refused(op.Operation.Position, errcode.ValidationFailed, "Introspection is switched off here.")
	case p.err != nil:
		return p.err
	case op.Operation.Operation == ast.Mutation && p.roots > maxMutations:
		return refused(op.Operation.Position, codeTooComplex, "An operation makes at most %d changes.", maxMutations)
	case total > maxPrice:
		return refused(op.Operation.Position, codeTooComplex,
			"The answer may have more than %d fields. Ask for smaller pages, or for less of each item.", maxPrice)
	}
	return nil
}

// pricer finds out how many fields an answer may have.
type pricer struct {
	variables map[string]any
	fragments map[fragmentPage]int
	roots     int // fields of the root
	err       *gqlerror.Error

	introspects bool
}

// fragmentPage is a fragment on a connection whose page has a size.
type fragmentPage struct {
	name string
	size int
}

// selections prices a selection set; size is that of the page, if the set is that of a connection, and the number of
// things to do, if it is that of a mutation's payload.
func (p *pricer) selections(set ast.SelectionSet, size int) int {
	sum := 0
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			sum = plus(sum, p.field(s, size))
		case *ast.InlineFragment:
			sum = plus(sum, p.selections(s.SelectionSet, size))
		case *ast.FragmentSpread:
			key := fragmentPage{s.Name, size}
			price, ok := p.fragments[key]
			if !ok {
				price = p.selections(s.Definition.SelectionSet, size)
				p.fragments[key] = price
			}
			sum = plus(sum, price)
		}
	}
	return sum
}

func (p *pricer) field(f *ast.Field, size int) int {
	switch {
	case f.ObjectDefinition.Name == "Mutation":
		p.roots++
		n := p.items(f)
		return plus(n, p.selections(f.SelectionSet, n))
	case f.Name == "__schema", f.Name == "__type":
		p.introspects = true
		return times(introspectionPrice, 1+aliases(f.SelectionSet))
	case f.Name == "nodes" && f.ObjectDefinition.Name == "Query":
		return p.nodes(f)
	case strings.HasSuffix(f.Definition.Type.Name(), "Connection"):
		return plus(1, p.selections(f.SelectionSet, p.page(f)))
	case f.ObjectDefinition.Name == "Query" && f.Definition.Type.Elem != nil:
		return plus(1, times(unpaged(f.Name), plus(1, p.selections(f.SelectionSet, 1))))
	case f.Definition.Type.Elem != nil &&
		(strings.HasSuffix(f.ObjectDefinition.Name, "Connection") || strings.HasSuffix(f.Definition.Type.Name(), "Outcome")):
		return plus(1, times(size, plus(1, p.selections(f.SelectionSet, 1))))
	}
	return plus(1, p.selections(f.SelectionSet, 1))
}

// aliases counts the fields of a selection set that are named otherwise. limits has bounded how many there are.
func aliases(set ast.SelectionSet) (n int) {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			if s.Alias != s.Name {
				n++
			}
			n += aliases(s.SelectionSet)
		case *ast.InlineFragment:
			n += aliases(s.SelectionSet)
		case *ast.FragmentSpread:
			n += aliases(s.Definition.SelectionSet)
		}
	}
	return n
}

// unpaged is how long a list of the root may be that has no pages.
func unpaged(field string) int {
	switch field {
	case "sessions":
		return maxSessions
	case "invitations":
		return maxInvitations
	case "personalAccessTokens":
		return maxAccessTokens
	default:
		return maxPrice // nobody has said, and so it is refused
	}
}

// items is how many things the mutation does.
func (p *pricer) items(f *ast.Field) int {
	input, _ := f.ArgumentMap(p.variables)["input"].(map[string]any)
	list, _ := input[items].([]any)
	return max(1, len(list))
}

func (p *pricer) nodes(f *ast.Field) int {
	ids := f.ArgumentMap(p.variables)["ids"]
	n := 1
	if list, ok := ids.([]any); ok {
		n = len(list)
	}
	if n > maxNodes {
		p.fail(f, "nodes takes at most %d ids.", maxNodes)
	}
	return plus(1, times(n, plus(1, p.selections(f.SelectionSet, 1))))
}

// page is the size of the page that the field asks for.
func (p *pricer) page(f *ast.Field) int {
	size, given := defaultPage, 0
	args := f.ArgumentMap(p.variables)
	for _, name := range []string{"first", "last"} {
		if args[name] == nil {
			continue
		}
		given++
		n, ok := args[name].(int64)
		if whole, isFloat := args[name].(float64); isFloat && whole == math.Trunc(whole) {
			n, ok = int64(max(-1, min(whole, page.MaxSize+1))), true
		}
		if !ok || n < 1 || n > page.MaxSize {
			p.fail(f, "%s must be between 1 and %d.", name, page.MaxSize)
			continue
		}
		size = int(n)
	}
	if given > 1 {
		p.fail(f, "Ask for first or for last, not for both.")
	}
	return size
}

func (p *pricer) fail(f *ast.Field, format string, args ...any) {
	if p.err == nil {
		p.err = refused(f.Position, codeInvalid, format, args...)
	}
}

// plus and times stop above the limit, so that no product can overflow.
func plus(a, b int) int  { return min(a+b, maxPrice+1) }
func times(a, b int) int { return min(a*b, maxPrice+1) }

// documents keeps parsed and validated documents, the least recently used go first. It is bounded by their length and
// not by their number: two documents can differ in size by a thousand.
type documents struct {
	mu    sync.Mutex
	bytes int
	kept  *lru.LRU[string, *ast.QueryDocument]
}

func newDocuments() *documents {
	d := &documents{}
	kept, err := lru.NewLRU(math.MaxInt, func(query string, _ *ast.QueryDocument) { d.bytes -= len(query) })
	if err != nil {
		panic(err) // only a size below one
	}
	d.kept = kept
	return d
}

// Get gives a document that is kept.
func (d *documents) Get(_ context.Context, query string) (*ast.QueryDocument, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kept.Get(query)
}

// Add keeps a document.
func (d *documents) Add(_ context.Context, query string, doc *ast.QueryDocument) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept.Contains(query) {
		return
	}
	d.kept.Add(query, doc)
	d.bytes += len(query)
	for d.bytes > maxCached {
		d.kept.RemoveOldest()
	}
}
