package checker

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// history is what everybody did, and when.
type history struct {
	begin time.Time

	mu        sync.Mutex
	registers map[string][]op // by name
	made      map[string]*life
	lists     []listing
	count     int
}

// op is a read or a write of a register.
type op struct {
	client        int
	write         bool
	value         string // written or read
	called, ended int64  // nanoseconds since begin
	unknown       bool   // a write that may or may not have happened, now or later
	how           string // for people
}

// life is a thing in a list.
type life struct {
	madeAt, goneAt   int64 // when that was acknowledged; MaxInt64 for never
	deleting, making int64 // when that was asked for; MaxInt64 for never
}

// listing is a read of the whole list.
type listing struct {
	called, ended int64
	found         map[string]bool
	how           string
}

func newHistory() *history {
	return &history{begin: time.Now(), registers: make(map[string][]op), made: make(map[string]*life)}
}

func (h *history) now() int64 { return time.Since(h.begin).Nanoseconds() }

func (h *history) add(register string, o op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	h.registers[register] = append(h.registers[register], o)
}

// check gives what no order of the operations can explain.
func (h *history) check() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var wrong []string
	for name, ops := range h.registers {
		if v := checkRegister(ops); v != "" {
			wrong = append(wrong, name+": "+v)
		}
	}
	for _, l := range h.lists {
		for title, t := range h.made {
			switch {
			case t.madeAt < l.called && t.deleting > l.ended && !l.found[title]:
				wrong = append(wrong, fmt.Sprintf("the list by %s at %v lacks %s, made at %v", l.how, time.Duration(l.called), title, time.Duration(t.madeAt)))
			case t.goneAt < l.called && l.found[title]:
				wrong = append(wrong, fmt.Sprintf("the list by %s at %v has %s, deleted at %v", l.how, time.Duration(l.called), title, time.Duration(t.goneAt)))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// checkTimeout bounds the search for an order.
const checkTimeout = time.Minute

// checkRegister looks for an order of the operations, each at a moment between its call and its answer, in which every
// read gives what was written last.
func checkRegister(ops []op) string {
	model := porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			o, _ := input.(op)
			if o.write {
				return true, o.value
			}
			return state == o.value, state
		},
	}
	if stale := explain(ops); stale != "" {
		return stale // found sooner than that there is no order
	}
	var (
		firstSeen = make(map[string]int64) // by value
		writes    = make(map[string]int)
		all       []porcupine.Operation
	)
	for _, o := range ops {
		if o.write {
			writes[o.value]++
		} else if end, ok := firstSeen[o.value]; !ok || o.ended < end {
			firstSeen[o.value] = o.ended
		}
	}
	for _, o := range ops {
		if o.write && o.unknown {
			// It may still happen. But if nobody else writes the value, then whoever reads it does so after it has happened;
			// and what nobody has read may as well not have happened.
			end, seen := firstSeen[o.value]
			switch {
			case writes[o.value] > 1:
				o.ended = never
			case seen:
				o.ended = max(end, o.called)
			default:
				continue
			}
		}
		all = append(all, porcupine.Operation{ClientId: o.client, Input: o, Call: o.called, Return: o.ended})
	}
	switch porcupine.CheckOperationsTimeout(model, all, checkTimeout) {
	case porcupine.Illegal:
		return fmt.Sprintf("%d operations have no order", len(ops))
	case porcupine.Unknown:
		return "no order was found in time, nor that there is none"
	default:
		return ""
	}
}

// explain finds a read of a value that had been overwritten before, where no value is written twice.
func explain(ops []op) string {
	written := make(map[string]op)
	for _, o := range ops {
		if !o.write {
			continue
		}
		if _, twice := written[o.value]; twice {
			return ""
		}
		written[o.value] = o
	}
	for _, r := range ops {
		w, ok := written[r.value]
		if r.write || ok && w.unknown {
			continue
		}
		if !ok {
			return fmt.Sprintf("%q was read by %s, and never written", r.value, r.how)
		}
		for _, later := range written {
			if !later.unknown && later.called > w.ended && later.ended < r.called {
				return fmt.Sprintf("%q was read by %s at %v, though %q was written over it by %s by %v", r.value, r.how,
					time.Duration(r.called), later.value, later.how, time.Duration(later.ended))
			}
		}
	}
	return ""
}

// never is no time.
const never = math.MaxInt64
