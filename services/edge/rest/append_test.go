package rest

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// What is written without reflection is what is written with it, to the byte, whatever stands in the fields.
func TestAnswersAreWrittenAsByReflection(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		task, comment := random[Task](r), random[Comment](r)
		for _, v := range []any{
			task, newView(task, Selection[Task]{}),
			[]View[Task]{{whole: task}, {whole: random[Task](r)}},
			[]View[Task]{},
			[]View[Comment]{{whole: comment}, {whole: random[Comment](r)}},
			[]View[Task]{{whole: task}, {whole: task, fields: []Field[Task]{"title"}}},
			newView(task, Selection[Task]{Fields: []Field[Task]{"labels"}}),
		} {
			var got bytes.Buffer
			want, wantErr := json.Marshal(v)
			if err := marshal(&got, v); err != nil || wantErr != nil {
				t.Fatalf("%v; by reflection %v", err, wantErr)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Fatalf("got  %s\nwant %s", got.Bytes(), want)
			}
		}
	}
}

// What is no text is no answer.
func TestAnswersAreUTF8(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	if err := marshal(&got, Task{Title: "\xff"}); err == nil || got.Len() > 0 {
		t.Errorf("got %q and %v, want an error and nothing", got.String(), err)
	}
}

// random fills every field.
func random[V any](r *rand.Rand) (v V) {
	fill(r, reflect.ValueOf(&v).Elem())
	return v
}

func fill(r *rand.Rand, v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(r.Int64N(1<<33), r.Int64N(1_000_000)*1000).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(r, field)
		}
	case reflect.Pointer:
		if r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 3))
		for i := range v.Len() {
			fill(r, v.Index(i))
		}
	case reflect.Int64:
		v.SetInt(r.Int64() - r.Int64())
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.String:
		text := []rune(strings.Repeat("plain ", r.IntN(5)))
		for i := range text {
			if r.IntN(3) > 0 {
				continue
			}
			text[i] = []rune{'a', '"', '\\', '\n', '\u2028', '<', 0, 0x7f, 'ä', '😀', '/', rune(r.IntN(0xd800))}[r.IntN(12)]
		}
		v.SetString(string(text))
	default:
		panic("a view has a field of another kind: " + v.Type().String())
	}
}

func BenchmarkFiftyTasks(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	views := make([]View[Task], 50)
	for i := range views {
		views[i].whole = random[Task](r)
		views[i].whole.Description = string(bytes.Repeat([]byte("make the thing work, "), 12))
	}
	var out bytes.Buffer
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		if err := marshal(&out, views); err != nil {
			b.Fatal(err)
		}
	}
}
