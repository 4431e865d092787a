package main

import (
	"reflect"
	"slices"
	"testing"

	"github.com/caarlos0/env/v11"
)

func TestWhatIsWrittenIsCurrent(t *testing.T) {
	t.Parallel()
	if err := run([]string{"--check"}); err != nil {
		t.Error(err)
	}
}

// The library that reads the variables is asked too, since the table is made from the tags by a reader of our own.
func TestTheTableHasEveryVariableThatIsRead(t *testing.T) {
	t.Parallel()
	for _, s := range services() {
		config := reflect.New(reflect.TypeOf(s.config))
		params, err := env.GetFieldParams(config.Interface())
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, p := range params {
			if p.Key != "" {
				want = append(want, p.Key)
			}
		}
		var got []string
		for _, v := range read(config.Type().Elem(), "") {
			got = append(got, v.name)
			if v.meaning == "" {
				t.Errorf("%s: %s has no meaning: its doc tag is missing", s.name, v.name)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the table has %q, and the service reads %q", s.name, got, want)
		}
	}
}

func TestEveryVariableMeansTheSameToAllServices(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, v := range variables() {
		if seen[v.name] {
			t.Errorf("%s has more than one row: its default or meaning differs between services", v.name)
		}
		seen[v.name] = true
	}
}

func TestNeitherDoorCanDoWhatTheOtherCanNot(t *testing.T) {
	t.Parallel()
	repository, err := root()
	if err != nil {
		t.Fatal(err)
	}
	ids, err := operations(repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range gaps(ids, fields()) {
		t.Error(wrong)
	}
}
