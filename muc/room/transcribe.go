package room

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"vnode/internal/wire"
)

const (
	// languagesEvery is how often main is told what visitors want transcribed.
	languagesEvery = time.Second
	// maxLanguages bounds those that main is told of: the ones that most
	// visitors want.
	maxLanguages = 100
)

// transcription counts the visitors that want each language.
type transcription struct {
	wanted map[string]int
	told   string // to main; "" before
}

// transcribe sets the language o wants, "" for none, and tells main what is
// wanted now, unless it has just been told something else: then it is told in a
// second.
func (r *conference) transcribe(o *occupant, language string) {
	was, wanted := o.language(), r.languages.wanted
	if was == language {
		return
	}
	if was != "" {
		if wanted[was]--; wanted[was] == 0 {
			delete(wanted, was)
		}
	}
	if language != "" {
		wanted[language]++
	}
	o.flowing().language = language
	if !r.armed[alarmLanguages] {
		r.tellLanguages()
	}
}

// tellLanguages tells main what visitors want transcribed, if that is news.
func (r *conference) tellLanguages() {
	langs, count := r.languages.list()
	told := langs + " " + count
	if told == r.languages.told {
		return
	}
	r.arm(alarmLanguages, languagesEvery)
	if r.mainFull() {
		return // it is told in a second
	}
	r.languages.told = told
	r.toVisitorsComponent(func(b *wire.Builder) {
		b.Start("transcription-languages", "langs", langs, "count", count).End()
	})
}

// list returns the languages, with commas between, and how many visitors want
// any.
func (t *transcription) list() (langs, count string) {
	n := 0
	for _, k := range t.wanted {
		n += k
	}
	all := slices.Sorted(maps.Keys(t.wanted))
	if len(all) > maxLanguages {
		slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(t.wanted[b], t.wanted[a]) })
		all = all[:maxLanguages]
		slices.Sort(all)
	}
	return strings.Join(all, ","), strconv.Itoa(n)
}
