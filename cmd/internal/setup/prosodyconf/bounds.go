package prosodyconf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"runtime/metrics"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"
)

// What a configuration may use while it is run. Real ones take milliseconds, some
// thousand steps and a megabyte. One that goes beyond a limit is read as text, as
// any other that cannot be run.
const (
	evaluationTime = 2 * time.Second
	maxFiles       = 200 // Includes may include themselves
	maxText        = 1 << 20
	maxSteps       = 1_000_000 // of Lua's machine, in all files together
	maxString      = 1 << 20
	maxSubject     = 64 << 10  // of a pattern: replacing takes the square of it
	maxNesting     = 1000      // of what a file's syntax consists of
	maxEntries     = 1_000_000 // of tables that are looked at
	maxMemory      = 512 << 20
)

// ReadFile returns the text of a configuration file. What is no file, such as a
// device, has no end, and what is too large is no configuration.
func ReadFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a file", path)
	}
	if info.Size() > maxText {
		return "", fmt.Errorf("%s has %d bytes; a configuration has %d at most", path, info.Size(), maxText)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// budget is what is left to a run. It is a context, since Lua's machine asks its
// context before each step.
type budget struct {
	context.Context
	steps, entries int
	memory         uint64 // from which on there is too much
	over           error
	closed         chan struct{}
}

func newBudget(ctx context.Context) *budget {
	b := &budget{Context: ctx, steps: maxSteps, entries: maxEntries, closed: make(chan struct{})}
	close(b.closed)
	b.memory = heap() + maxMemory
	return b
}

// heap returns how many bytes of the program's memory are in use.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// samplePeriod is how many steps there are from one look at the memory to the
// next: none makes more than maxString of it.
const samplePeriod = 100

// Done implements context.Context.
func (b *budget) Done() <-chan struct{} {
	b.steps--
	switch {
	case b.over != nil:
	case b.steps < 0:
		b.over = fmt.Errorf("it takes more than %d steps", maxSteps)
	case b.entries < 0:
		b.over = fmt.Errorf("its tables have more than %d entries", maxEntries)
	case b.steps%samplePeriod == 0 && heap() > b.memory:
		b.over = fmt.Errorf("it takes more than %d MiB of memory", maxMemory>>20)
	default:
		return b.Context.Done()
	}
	return b.closed
}

// Err implements context.Context.
func (b *budget) Err() error {
	if b.over == nil && b.Context.Err() != nil {
		return errTooLong
	}
	return b.over
}

var errTooLong = fmt.Errorf("it takes more than %s", evaluationTime)

// compiled returns a file's text as a function whose strings are bounded.
func compiled(L *lua.LState, f *File) (fn *lua.LFunction, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the compiler failed: %v", r)
		}
	}()
	chunk, err := parse.Parse(strings.NewReader(f.Text), f.Path)
	if err != nil {
		return nil, err
	}
	if !boundConcatenation(reflect.ValueOf(&chunk), maxNesting) {
		return nil, errors.New("its parts are nested too deeply")
	}
	proto, err := lua.Compile(chunk, f.Path)
	if err != nil {
		return nil, err
	}
	return L.NewFunctionFromProto(proto), nil
}

// concatenate is the name of the function that stands for Lua's operator. No text
// can name it.
const concatenate = ".."

var expression = reflect.TypeFor[ast.Expr]()

// boundConcatenation puts calls in the place of the operator .., whose result
// nothing else bounds. It returns false for what is nested too deeply.
func boundConcatenation(v reflect.Value, depth int) bool {
	if depth < 0 {
		return false
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return true
		}
		if !boundConcatenation(v.Elem(), depth-1) {
			return false
		}
		if v.Type() == expression {
			if c, ok := v.Interface().(*ast.StringConcatOpExpr); ok {
				call := &ast.FuncCallExpr{Func: &ast.IdentExpr{Value: concatenate}, Args: []ast.Expr{c.Lhs, c.Rhs}}
				call.SetLine(c.Line())
				call.SetLastLine(c.LastLine())
				call.Func.SetLine(c.Line())
				v.Set(reflect.ValueOf(call))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && !boundConcatenation(v.Field(i), depth) {
				return false
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if !boundConcatenation(v.Index(i), depth) {
				return false
			}
		}
	}
	return true
}

// boundStrings puts functions of bounded results in the place of those that make
// strings.
func boundStrings(L *lua.LState) {
	L.SetGlobal(concatenate, L.NewFunction(concatenated))
	str, ok := L.GetGlobal(lua.StringLibName).(*lua.LTable)
	table, ok2 := L.GetGlobal(lua.TabLibName).(*lua.LTable)
	if !ok || !ok2 {
		return // they were opened before
	}
	guard := func(lib *lua.LTable, name string, fits func(L *lua.LState) bool) {
		original, ok := lib.RawGetString(name).(*lua.LFunction)
		if !ok {
			return
		}
		lib.RawSetString(name, L.NewFunction(func(L *lua.LState) int {
			if !fits(L) {
				L.RaiseError("%s would make or search too long a string", name)
			}
			args := L.GetTop()
			L.Insert(original, 1)
			L.Call(args, lua.MultRet)
			return L.GetTop()
		}))
	}
	str.RawSetString("rep", L.NewFunction(repeated))
	guard(str, "format", func(L *lua.LState) bool {
		return !wideFormat.MatchString(L.CheckString(1)) && argumentBytes(L) <= maxString/4 // %q makes four bytes of one
	})
	for _, name := range []string{"find", "match", "gmatch"} {
		guard(str, name, func(L *lua.LState) bool { return len(L.CheckString(1)) <= maxSubject })
	}
	guard(str, "gsub", replacementFits)
	guard(table, "concat", func(L *lua.LState) bool {
		t, total := L.CheckTable(1), 0
		for i := 1; i <= t.Len() && total <= maxString; i++ {
			total += len(lua.LVAsString(t.RawGetInt(i))) + len(L.OptString(2, ""))
		}
		return total <= maxString && L.OptInt(4, 0) <= t.Len()
	})
}

// repeated is string.rep, with the separator of newer Luas.
func repeated(L *lua.LState) int {
	s, n, between := L.CheckString(1), float64(L.CheckNumber(2)), L.OptString(3, "")
	if float64(len(s)+len(between))*n > maxString {
		L.RaiseError("rep would make too long a string")
	}
	if n < 1 || s == "" && between == "" {
		L.Push(lua.LString(""))
		return 1
	}
	L.Push(lua.LString(strings.Repeat(s+between, int(n)-1) + s))
	return 1
}

// wideFormat has a width of three digits, which Lua refuses, or what only Go's
// formats have.
var wideFormat = regexp.MustCompile(`%[^a-zA-Z%]*([0-9]{3}|[*\[])`)

func argumentBytes(L *lua.LState) (total int) {
	for i := 1; i <= L.GetTop(); i++ {
		if s, ok := L.Get(i).(lua.LString); ok {
			total += len(s)
		}
	}
	return total
}

// replacementFits bounds gsub's result, where its replacement says it all: at each
// byte there may be a match, in which %1 stands for the whole. Other replacements
// are counted as they come.
func replacementFits(L *lua.LState) bool {
	subject := len(L.CheckString(1))
	if subject > maxSubject {
		return false
	}
	if s, ok := L.Get(3).(lua.LString); ok {
		one := len(s)
		if strings.Contains(string(s), "%") {
			one *= max(1, subject)
		}
		return (subject+1)*one <= 16*maxString
	}
	by, total := L.CheckAny(3), 0
	L.Replace(3, L.NewFunction(func(L *lua.LState) int {
		result := replacement(L, by)
		if total += len(lua.LVAsString(result)); total > maxString {
			L.RaiseError("gsub would make too long a string")
		}
		L.Push(result)
		return 1
	}))
	return true
}

// replacement is what gsub's third argument, a table or a function, makes of a
// match.
func replacement(L *lua.LState, by lua.LValue) lua.LValue {
	if t, ok := by.(*lua.LTable); ok {
		return L.GetTable(t, L.Get(1))
	}
	n := L.GetTop()
	args := make([]lua.LValue, n)
	for i := range args {
		args[i] = L.Get(i + 1)
	}
	L.Push(by)
	for _, a := range args {
		L.Push(a)
	}
	L.Call(n, 1)
	return L.Get(-1)
}

// concatenated is Lua's operator ..
func concatenated(L *lua.LState) int {
	a, b := L.Get(1), L.Get(2)
	if lua.LVCanConvToString(a) && lua.LVCanConvToString(b) {
		x, y := lua.LVAsString(a), lua.LVAsString(b)
		if len(x)+len(y) > maxString {
			L.RaiseError("a string of more than %d bytes", maxString)
		}
		L.Push(lua.LString(x + y))
		return 1
	}
	own := L.GetMetaField(a, "__concat")
	if own == lua.LNil {
		own = L.GetMetaField(b, "__concat")
	}
	if own == lua.LNil {
		L.RaiseError("attempt to concatenate a %s value with a %s value", a.Type(), b.Type())
	}
	L.Push(own)
	L.Push(a)
	L.Push(b)
	L.Call(2, 1)
	return 1
}
