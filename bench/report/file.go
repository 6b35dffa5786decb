package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// WriteJSON writes the file as one indented JSON object.
func (f *File) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(f)
}

// ReadJSON reads a file as [File.WriteJSON] writes it. What a newer version
// added is left out.
func ReadJSON(r io.Reader) (*File, error) {
	var f File
	if err := json.NewDecoder(r).Decode(&f); err != nil {
		return nil, fmt.Errorf("no result of the load test: %w", err)
	}
	if f.Runs == nil {
		return nil, errors.New("no result of the load test: it has no runs")
	}
	return &f, nil
}

// Join makes one file of several, in the order they were taken: as if one
// invocation had made all runs. Repeats are counted on, so that figures are
// compared only with those of the same file. Where machines differ the notes
// say so. At least one is needed.
func Join(files ...*File) *File {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b *File) int { return a.Began.Compare(b.Began) })
	all := *files[0]
	all.Runs, all.Notes, all.Servers = slices.Clone(all.Runs), slices.Clone(all.Notes), maps.Clone(all.Servers)
	for _, f := range files[1:] {
		all.add(f)
	}
	return &all
}

func (f *File) add(more *File) {
	last := 0
	for _, r := range f.Runs {
		last = max(last, r.Repeat)
	}
	for _, r := range more.Runs {
		r.Repeat += last
		f.Runs = append(f.Runs, r)
	}
	f.Took += more.Took
	if !slices.Equal(f.Command, more.Command) {
		f.Command = slices.Concat(f.Command, []string{";"}, more.Command)
	}
	for _, n := range more.Notes {
		if !slices.Contains(f.Notes, n) {
			f.Notes = append(f.Notes, n)
		}
	}
	if more.Machine != f.Machine {
		f.Notes = append(f.Notes, fmt.Sprintf("Some runs were made on another machine or with other pinning: %s, %s.", more.Machine.describe(), more.Machine.Pinning))
	}
	for name, version := range more.Servers {
		if f.Servers == nil {
			f.Servers = make(map[string]string)
		}
		if old, ok := f.Servers[name]; ok && old != version {
			version = old + ", " + version
		}
		f.Servers[name] = version
	}
}
