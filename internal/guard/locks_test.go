package guard

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A panic that is kept in must not leave a lock locked: everybody who wants it would
// wait for ever, which is worse than the end of the process. So each lock is
// unlocked by defer, or nothing that can panic is done under it: fields are read and
// set, and no functions are called but the few that are listed here.
func TestNoPanicLeavesALockLocked(t *testing.T) {
	locks := 0
	for _, dir := range []string{"fanout", "muc", "s2s", "visitor", "internal", "cmd/internal/node", "cmd/internal/admin", "cmd/internal/logging"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && d.Name() == "xmpptest" {
				return cmp.Or(err, fs.SkipDir)
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || d.Name() == "poller_linux.go" {
				return nil // the poller's goroutine keeps no panic of its own in
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, 0)
			if err != nil {
				return err
			}
			for _, f := range locksOf(file) {
				locks++
				if f.bad != nil {
					t.Errorf("%s: %s is unlocked without defer, and under it there is %s", fset.Position(f.bad.Pos()), f.lock, f.what)
				}
			}
			return nil
		})
		require.NoError(t, err)
	}
	require.Greater(t, locks, 100, "the locks were seen")
}

// The check finds what it looks for.
func TestLocksWithoutDeferAreSeen(t *testing.T) {
	for body, want := range map[string]string{
		"x.mu.Lock(); defer x.mu.Unlock(); f()":                                   "",
		"x.mu.Lock(); x.n++; x.mu.Unlock(); f()":                                  "",
		"x.mu.Lock(); x.list = append(x.list, 1); x.mu.Unlock()":                  "",
		"x.mu.Lock(); f(); x.mu.Unlock()":                                         "f()",
		"x.mu.Lock(); if x.a { x.mu.Unlock(); f(); return }; x.mu.Unlock()":       "",
		"x.mu.Lock(); if x.a { f() }; x.mu.Unlock()":                              "f()",
		"x.mu.Lock(); if x.a { x.mu.Unlock(); return }; defer x.mu.Unlock(); f()": "",
		"x.mu.RLock(); y := x.list[2]; x.mu.RUnlock(); f(y)":                      "x.list[2]",
		"x.mu.Lock(); y := x.any.(int); x.mu.Unlock()":                            "x.any.(int)",
		"x.mu.Lock(); y := 1 / x.n; x.mu.Unlock()":                                "1 / x.n",
		"go func() { x.mu.Lock(); f(); x.mu.Unlock() }()":                         "f()",
		"x.mu.Lock(); x.n++":                                                      "no unlocking",
		"defer x.mu.Unlock(); x.mu.Lock(); f(); x.mu.Unlock(); g(); x.mu.Lock()":  "",
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p; func g() {"+body+"}", 0)
		require.NoError(t, err, body)
		got := ""
		for _, l := range locksOf(file) {
			if l.bad != nil {
				got = l.what
			}
		}
		require.Equal(t, want, got, body)
	}
}

// locked is a place where a lock is taken.
type locked struct {
	lock string
	bad  ast.Node // what may panic under it; nil: nothing, or the lock is unlocked by defer
	what string
}

// locksOf finds where locks are taken.
func locksOf(file *ast.File) (all []locked) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Body != nil {
				all = append(all, locksIn(n.Body, deferred(n.Body))...)
			}
		case *ast.FuncLit:
			all = append(all, locksIn(n.Body, deferred(n.Body))...)
		}
		return true
	})
	return all
}

// locksIn finds those of one function, without functions in it.
func locksIn(body ast.Node, byDefer map[string]bool) (all []locked) {
	ast.Inspect(body, func(n ast.Node) bool {
		if _, ok := n.(*ast.FuncLit); ok {
			return false
		}
		for i, s := range statements(n) {
			lock, ok := call(s, "Lock", "RLock")
			if !ok {
				continue
			}
			l := locked{lock: lock}
			if !byDefer[lock] {
				l.bad, l.what = under(lock, statements(n)[i+1:], s)
			}
			all = append(all, l)
		}
		return true
	})
	return all
}

func statements(n ast.Node) []ast.Stmt {
	switch n := n.(type) {
	case *ast.BlockStmt:
		return n.List
	case *ast.CaseClause:
		return n.Body
	case *ast.CommClause:
		return n.Body
	}
	return nil
}

// deferred are the locks that a function unlocks by defer on all its ways, if it has
// locked them: those named in its own statements.
func deferred(body *ast.BlockStmt) map[string]bool {
	all := map[string]bool{}
	locked := map[string]bool{}
	for _, s := range body.List {
		if lock, ok := call(s, "Lock", "RLock"); ok {
			locked[lock] = true
			continue
		}
		d, ok := s.(*ast.DeferStmt)
		if !ok {
			break
		}
		if lock, ok := call(&ast.ExprStmt{X: d.Call}, "Unlock", "RUnlock"); ok {
			all[lock] = true
		}
	}
	return all
}

// call reports whether a statement calls one of the methods, and of what.
func call(s ast.Stmt, methods ...string) (of string, ok bool) {
	e, ok := s.(*ast.ExprStmt)
	if !ok {
		return "", false
	}
	c, ok := e.X.(*ast.CallExpr)
	if !ok || len(c.Args) > 0 {
		return "", false
	}
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	for _, m := range methods {
		if sel.Sel.Name == m {
			return types.ExprString(sel.X), true
		}
	}
	return "", false
}

// under looks at what is done until the lock is unlocked.
func under(lock string, list []ast.Stmt, at ast.Node) (bad ast.Node, what string) {
	for _, s := range list {
		if d, ok := s.(*ast.DeferStmt); ok {
			s = &ast.ExprStmt{X: d.Call}
		}
		if of, ok := call(s, "Unlock", "RUnlock"); ok && of == lock {
			return nil, ""
		}
		if bad, what := risk(lock, s); bad != nil {
			return bad, what
		}
	}
	return at, "no unlocking"
}

// risk finds what may panic in a statement. A nested list of statements counts until
// it unlocks by itself.
func risk(lock string, s ast.Node) (bad ast.Node, what string) {
	ast.Inspect(s, func(n ast.Node) bool {
		if bad != nil {
			return false
		}
		switch n := n.(type) {
		case *ast.FuncLit:
			return false // it is not run here
		case *ast.BlockStmt, *ast.CaseClause, *ast.CommClause:
			if c, ok := n.(*ast.CaseClause); ok {
				for _, e := range c.List {
					if bad, what = risk(lock, e); bad != nil {
						return false
					}
				}
			}
			for _, s := range statements(n) {
				if of, ok := call(s, "Unlock", "RUnlock"); ok && of == lock {
					break
				}
				if bad, what = risk(lock, s); bad != nil {
					break
				}
			}
			return false
		case *ast.CallExpr:
			if !calm(n) {
				bad, what = n, types.ExprString(n)
			}
		case *ast.IndexExpr, *ast.TypeAssertExpr:
			bad, what = n, types.ExprString(n.(ast.Expr))
		case *ast.SliceExpr:
			if n.Low != nil || n.High != nil && types.ExprString(n.High) != "0" {
				bad, what = n, types.ExprString(n)
			}
		case *ast.BinaryExpr:
			if n.Op == token.QUO || n.Op == token.REM {
				bad, what = n, types.ExprString(n)
			}
		}
		return true
	})
	return bad, what
}

// calm reports whether a function cannot panic.
func calm(c *ast.CallExpr) bool {
	switch types.ExprString(c.Fun) {
	case "append", "len", "cap", "min", "max", "delete", "clear", "new", "make",
		"time.Now", "slices.Collect", "maps.Values", "maps.Keys",
		// internal/socket's, for each report of epoll: they set fields and ask the kernel.
		"c.takeReader", "c.takeWriter", "c.await", "passed", "earlier":
		return true
	}
	return false
}
