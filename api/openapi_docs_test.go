package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// docs are the comments of this package: of a type under its name, of a field under
// Type.Field; and its string constants.
type docs struct {
	text   map[string]string
	consts map[string]string
}

func readDocs(t *testing.T) docs {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	d := docs{map[string]string{}, map[string]string{}}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if gen, ok := decl.(*ast.GenDecl); ok {
				for _, spec := range gen.Specs {
					d.read(gen, spec)
				}
			}
		}
	}
	return d
}

func (d docs) read(gen *ast.GenDecl, spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		comment := spec.Doc
		if comment == nil {
			comment = gen.Doc
		}
		d.text[spec.Name.Name] = words(comment)
		if st, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range st.Fields.List {
				for _, name := range f.Names {
					d.text[spec.Name.Name+"."+name.Name] = strings.TrimSpace(words(f.Doc) + " " + words(f.Comment))
				}
			}
		}
	case *ast.ValueSpec:
		for i, name := range spec.Names {
			if i >= len(spec.Values) {
				break
			}
			if lit, ok := spec.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				d.consts[name.Name], _ = strconv.Unquote(lit.Value)
			}
		}
	}
}

func words(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

var goName = regexp.MustCompile(`\b[A-Z][A-Za-z]+\b`)

// of is the comment of a type, or of its field, in the words of the wire: fields and
// constants under the names that travel.
func (d docs) of(rt reflect.Type, field string) string {
	key := rt.Name()
	if field != "" {
		key += "." + field
	}
	return goName.ReplaceAllStringFunc(d.text[key], func(name string) string {
		if f, ok := rt.FieldByName(name); ok && !f.Anonymous && field != "" {
			tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			return "`" + tag + "`"
		}
		if value, ok := d.consts[name]; ok {
			return "`" + value + "`"
		}
		return name
	})
}
