package prosodyconf

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// A configuration is a program. It is run as Prosody runs it, in an environment
// that writes down what is assigned, without any way to the machine: no files
// beside those that Include names, no programs, no modules.

// Source is where Load gets files from.
type Source struct {
	// Read returns the text of a file and the path it is to be known by, a link's
	// target for example. Skip says that the file does not count.
	Read func(path string) (text, known string, skip bool, err error)
	// Glob returns the paths that match a pattern, in order.
	Glob func(pattern string) []string
	// Getenv returns a variable of the environment; nil: there is none.
	Getenv func(name string) string
	// Otherwise is a pattern of files to read when the first has no Include that
	// can be seen, or cannot be run.
	Otherwise string
}

// Load reads a configuration and all files that it includes, in the order in which
// Prosody reads them. The error is that of reading a file; why one could not be run
// is its Err.
func Load(path string, from Source) ([]*File, error) { return loadWithin(evaluationTime, path, from) }

// loadWithin gives up a run that ignores its end, in one of Lua's functions: then
// all is read as text.
func loadWithin(limit time.Duration, path string, from Source) ([]*File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	type result struct {
		files []*File
		err   error
	}
	done := make(chan result, 1)
	go func() {
		l := &loading{from: from, budget: newBudget(ctx)}
		files, err := l.load(path)
		done <- result{files, err}
	}()
	select {
	case r := <-done:
		return r.files, r.err
	case <-time.After(limit + limit/2):
		return (&loading{from: from}).load(path)
	}
}

func (l *loading) load(path string) ([]*File, error) {
	if err := l.file(path); err != nil {
		return nil, err
	}
	if l.included || l.from.Otherwise == "" {
		return l.files, l.failed
	}
	for _, path := range l.from.Glob(l.from.Otherwise) {
		if err := l.file(path); err != nil {
			return nil, err
		}
	}
	return l.files, l.failed
}

// loading is a run of Load.
type loading struct {
	from     Source
	budget   *budget // nil: all is read as text
	files    []*File
	included bool
	order    int
	failed   error // of reading
}

func (l *loading) file(path string) error {
	if len(l.files) >= maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	text, known, skip, err := l.from.Read(path)
	if skip || err != nil {
		return err
	}
	f := scan(known, text)
	l.files = append(l.files, f)
	l.evaluate(f, path)
	return nil
}

// evaluate runs the file, which was found at path, and corrects what was scanned.
func (l *loading) evaluate(f *File, path string) {
	if l.budget == nil {
		f.Err = plainError(f.Path, errTooLong)
		(&evaluation{loading: l, file: f}).fallBack()
		return
	}
	e := &evaluation{loading: l, file: f, dir: filepath.Dir(path), state: lua.NewState(lua.Options{SkipOpenLibs: true, MinimizeStackMemory: true})}
	defer e.state.Close()
	e.state.SetContext(l.budget)
	if err := e.run(); err != nil {
		f.Err = plainError(f.Path, err)
		e.fallBack()
		e.includeByText()
		return
	}
	f.Options, f.Hosts = e.options, e.hosts
}

func (e *evaluation) run() error {
	if len(e.file.Text) > maxText {
		return fmt.Errorf("it has more than %d bytes", maxText)
	}
	e.environment()
	chunk, err := compiled(e.state, e.file)
	if err != nil {
		return err
	}
	e.state.Push(chunk)
	if err := e.state.PCall(0, 0, nil); err != nil {
		return err
	}
	e.budget.Done() // the last step may have been one too many
	return e.budget.Err()
}

// plainError is Lua's without its stack.
func plainError(path string, err error) error {
	var api *lua.ApiError
	text := err.Error()
	if errors.As(err, &api) {
		text = api.Object.String()
	}
	text, _, _ = strings.Cut(text, "\n")
	if !strings.Contains(text, path) {
		text = path + ": " + text
	}
	return errors.New(text)
}

// fallBack keeps what was scanned of a file that cannot be run to its end, such
// as one in a newer Lua, with what is known of it from before the error.
func (e *evaluation) fallBack() {
	for i, o := range e.file.Options {
		at := slices.IndexFunc(e.options, func(seen Option) bool {
			return seen.Host == o.Host && seen.Name == o.Name && seen.Open == o.Open && o.Open > 0
		})
		if at >= 0 {
			e.file.Options[i] = e.options[at]
			continue
		}
		e.order++
		e.file.Options[i].Order = e.order
	}
}

// includeByText reads what the text of a file that cannot be run to its end includes
// and was not included before the error.
func (e *evaluation) includeByText() {
	for _, pattern := range e.file.includes {
		if !slices.Contains(e.included, pattern) {
			e.includePattern(pattern)
		}
	}
}

// evaluation is the run of one file.
type evaluation struct {
	*loading
	file    *File
	dir     string // Includes are relative to it
	state   *lua.LState
	host    string // current one, "" in the global section
	options []Option
	hosts   []Host

	included []string // patterns
}

// environment puts Prosody's functions into the globals, and lets assignments
// to others be written down.
func (e *evaluation) environment() {
	L := e.state
	for _, open := range []struct {
		name string
		open lua.LGFunction
	}{{lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}, {lua.StringLibName, lua.OpenString}, {lua.MathLibName, lua.OpenMath}} {
		L.Push(L.NewFunction(open.open))
		L.Push(lua.LString(open.name))
		L.Call(1, 0)
	}
	boundStrings(L)
	for _, name := range []string{"dofile", "load", "loadfile", "loadstring", "print", "collectgarbage", "module", "require", "newproxy", "_printregs"} {
		L.SetGlobal(name, lua.LNil)
	}
	for _, name := range []string{"VirtualHost", "Host", "host"} {
		L.SetGlobal(name, L.NewFunction(e.virtualHost))
	}
	for _, name := range []string{"Component", "component"} {
		L.SetGlobal(name, L.NewFunction(e.component))
	}
	for _, name := range []string{"Include", "include"} {
		L.SetGlobal(name, L.NewFunction(e.include))
	}
	// What they would yield is a secret or another program's: no string says so.
	for _, name := range []string{"FileContents", "FileLine", "Credential", "require", "RunScript"} {
		L.SetGlobal(name, L.NewFunction(e.unknown))
	}
	L.SetGlobal("FileLines", L.NewFunction(func(L *lua.LState) int { L.Push(L.NewTable()); return 1 }))
	L.SetGlobal("prosody", e.unknownValue(L))
	osLib := L.NewTable()
	L.Push(L.NewFunction(lua.OpenOs))
	L.Push(lua.LString(lua.OsLibName))
	L.Call(1, 0)
	if all, ok := L.GetGlobal(lua.OsLibName).(*lua.LTable); ok {
		for _, name := range []string{"time", "date", "clock", "difftime"} {
			osLib.RawSetString(name, all.RawGetString(name))
		}
	}
	osLib.RawSetString("getenv", L.NewFunction(func(L *lua.LState) int { return e.getenv(L, L.CheckString(1)) }))
	L.SetGlobal("os", osLib)
	meta := L.NewTable()
	meta.RawSetString("__newindex", L.NewFunction(e.assign))
	meta.RawSetString("__index", L.NewFunction(e.readBack))
	globals := L.Get(lua.GlobalsIndex).(*lua.LTable)
	api := L.NewTable()
	globals.ForEach(func(k, v lua.LValue) { api.RawSet(k, v) })
	globals.RawSetString("Lua", api)
	L.SetMetatable(globals, meta)
}

// getenv pushes a variable of the environment, as prosodyctl would see it.
func (e *evaluation) getenv(L *lua.LState, name string) int {
	value := ""
	if e.from.Getenv != nil {
		value = e.from.Getenv(name)
	}
	if value == "" {
		L.Push(lua.LNil)
	} else {
		L.Push(lua.LString(value))
	}
	return 1
}

// unknown yields something that can be indexed, called and appended, and is no string.
func (e *evaluation) unknown(L *lua.LState) int {
	L.Push(e.unknownValue(L))
	return 1
}

func (e *evaluation) unknownValue(L *lua.LState) *lua.LTable {
	t, meta := L.NewTable(), L.NewTable()
	again := L.NewFunction(e.unknown)
	meta.RawSetString("__call", again)
	meta.RawSetString("__concat", again)
	meta.RawSetString("__index", L.NewFunction(func(L *lua.LState) int { return e.unknown(L) }))
	L.SetMetatable(t, meta)
	return t
}

// line is where the file that runs is.
func (e *evaluation) line() int {
	for level := 0; ; level++ {
		dbg, ok := e.state.GetStack(level)
		if !ok {
			return 0
		}
		if _, err := e.state.GetInfo("Sl", dbg, lua.LNil); err == nil && dbg.CurrentLine > 0 {
			return dbg.CurrentLine
		}
	}
}

func (e *evaluation) begin(h Host) {
	h.Line = e.line()
	// Where a statement ends on another line, Lua names that.
	for _, seen := range e.file.Hosts {
		if seen.Name == h.Name && seen.Component == h.Component {
			h.Line = seen.Line
		}
	}
	e.hosts = append(e.hosts, h)
	e.host = h.Name
}

func (e *evaluation) virtualHost(L *lua.LState) int {
	name := prepared(L.CheckString(1))
	e.begin(Host{Name: name})
	L.Push(L.NewFunction(func(L *lua.LState) int { return e.settings(name, L.CheckTable(1)) }))
	return 1
}

// settings are those of VirtualHost "name" { … }: with them the host ends.
func (e *evaluation) settings(host string, t *lua.LTable) int {
	e.host = host
	t.ForEach(func(k, v lua.LValue) { e.set(k.String(), v) })
	e.host = ""
	return 0
}

func (e *evaluation) component(L *lua.LState) int {
	name := prepared(L.CheckString(1)) // Prosody looks at no second argument
	e.begin(Host{Name: name, Component: true})
	at := len(e.hosts) - 1
	settings := L.NewFunction(func(L *lua.LState) int { return e.settings(name, L.CheckTable(1)) })
	L.Push(L.NewFunction(func(L *lua.LState) int {
		if module, ok := L.Get(1).(lua.LString); ok {
			e.hosts[at].Module = string(module)
			L.Push(settings)
			return 1
		}
		return e.settings(name, L.CheckTable(1))
	}))
	return 1
}

func prepared(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func (e *evaluation) include(L *lua.LState) int {
	e.includePattern(L.CheckString(1))
	return 0
}

func (e *evaluation) includePattern(pattern string) {
	e.loading.included = true
	e.included = append(e.included, pattern)
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(e.dir, pattern)
	}
	for _, path := range e.from.Glob(pattern) {
		if err := e.loading.file(path); err != nil && e.failed == nil {
			e.failed = err
		}
	}
}

func (e *evaluation) assign(L *lua.LState) int {
	e.set(L.CheckString(2), L.Get(3))
	return 0
}

func (e *evaluation) set(name string, v lua.LValue) {
	e.order++
	o := Option{Host: e.host, Name: name, Line: e.line(), Order: e.order, contents: e.contentsOf(v)}
	if s, ok := v.(lua.LString); ok {
		o.Value = string(s)
	}
	e.place(&o)
	e.options = append(e.options, o)
}

// place finds the assignment that was scanned: the one of that name around the
// line, else the only one.
func (e *evaluation) place(o *Option) {
	var same []Option
	for _, seen := range e.file.Options {
		if seen.Name == o.Name && (seen.Host == o.Host || seen.unsure) {
			same = append(same, seen)
		}
	}
	for _, seen := range same {
		if len(same) == 1 || seen.Line <= o.Line && o.Line <= seen.lastLine {
			o.Line, o.Open, o.End = seen.Line, seen.Open, seen.End
			return
		}
	}
}

// readBack is what an option reads as: what was assigned to it, with Prosody 13's
// append; of others nothing.
func (e *evaluation) readBack(L *lua.LState) int {
	name := L.CheckString(2)
	if variable, ok := strings.CutPrefix(name, "ENV_"); ok {
		return e.getenv(L, variable)
	}
	at := -1
	for i, o := range e.options {
		if o.Name == name && o.Host == e.host {
			at = i
		}
	}
	switch {
	case at < 0:
		return 0
	case e.options[at].Value != "" || e.options[at].contents == nil:
		L.Push(lua.LString(e.options[at].Value))
		return 1
	}
	add := func(L *lua.LState, t *lua.LTable) {
		o := e.options[at]
		e.order++
		o.Order = e.order
		o.contents = o.contents.with(e.contentsOf(t))
		e.options = append(e.options, o)
	}
	proxy, meta, methods := L.NewTable(), L.NewTable(), L.NewTable()
	methods.RawSetString("append", L.NewFunction(func(L *lua.LState) int { add(L, L.CheckTable(2)); L.Push(L.Get(1)); return 1 }))
	meta.RawSetString("__index", methods)
	meta.RawSetString("__call", L.NewFunction(func(L *lua.LState) int { add(L, L.CheckTable(2)); L.Push(L.Get(1)); return 1 }))
	L.SetMetatable(proxy, meta)
	L.Push(proxy)
	return 1
}

// contents is what a table holds.
type contents struct {
	strings map[string]bool // keys and values, at any depth
	records []map[string]string
	values  map[string]string // of string keys, as text
}

// maxDepth bounds tables in tables, which may hold themselves.
const maxDepth = 8

func (e *evaluation) contentsOf(v lua.LValue) *contents {
	t, ok := v.(*lua.LTable)
	if !ok {
		return nil
	}
	c := &contents{strings: map[string]bool{}, values: map[string]string{}}
	e.each(t, 0, func(k, v lua.LValue) {
		for _, v := range []lua.LValue{k, v} {
			if s, ok := v.(lua.LString); ok {
				c.strings[string(s)] = true
			}
		}
	})
	for i := 1; i <= t.Len() && e.budget.entries >= 0; i++ {
		if record, ok := t.RawGetInt(i).(*lua.LTable); ok {
			c.records = append(c.records, e.recordOf(record))
		}
	}
	t.ForEach(func(k, v lua.LValue) {
		if key, ok := k.(lua.LString); ok {
			c.values[string(key)] = e.textOf(v)
		}
	})
	return c
}

// each calls f for all entries of a table and of those in it, within the budget.
func (e *evaluation) each(t *lua.LTable, depth int, f func(k, v lua.LValue)) {
	if depth > maxDepth {
		return
	}
	t.ForEach(func(k, v lua.LValue) {
		if e.budget.entries--; e.budget.entries < 0 {
			return
		}
		f(k, v)
		if inner, ok := v.(*lua.LTable); ok {
			e.each(inner, depth+1, f)
		}
	})
}

// with is c and what was appended.
func (c *contents) with(more *contents) *contents {
	sum := &contents{strings: map[string]bool{}, values: map[string]string{}}
	for _, one := range []*contents{c, more} {
		for s := range one.strings {
			sum.strings[s] = true
		}
		for k, v := range one.values {
			sum.values[k] = v
		}
		sum.records = append(sum.records, one.records...)
	}
	return sum
}

func (e *evaluation) recordOf(t *lua.LTable) map[string]string {
	record := map[string]string{}
	t.ForEach(func(k, v lua.LValue) {
		if e.budget.entries--; e.budget.entries < 0 {
			return
		}
		if key, ok := k.(lua.LString); ok {
			if _, nested := v.(*lua.LTable); !nested {
				record[string(key)] = v.String()
			}
		}
	})
	return record
}

// textOf is a value in words: a table's are separated by spaces.
func (e *evaluation) textOf(v lua.LValue) string {
	t, ok := v.(*lua.LTable)
	if !ok {
		return v.String()
	}
	var words []string
	e.each(t, 1, func(k, v lua.LValue) {
		if _, nested := v.(*lua.LTable); nested {
			return
		}
		key := ""
		if name, ok := k.(lua.LString); ok {
			key = string(name) + "="
		} else if n, ok := k.(lua.LNumber); ok && int(n) > 1<<20 {
			key = strconv.Itoa(int(n)) + "="
		}
		words = append(words, key+v.String())
	})
	return strings.Join(words, " ")
}
