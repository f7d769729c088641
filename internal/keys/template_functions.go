// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
)

// templateFunctions holds the functions that templates may call, including those of text/template that are replaced.
// They are pure: they use no environment, no randomness and no time. Each has an upper bound of what it can produce.
var templateFunctions = map[string]function{
	"quote":    {onString(quote), escaping(6)},
	"b64enc":   {onString(base64Encode), escaping(2)},
	"lower":    {onString(pure(strings.ToLower)), escaping(3)},
	"upper":    {onString(pure(strings.ToUpper)), escaping(3)},
	"join":     {join, joinMost},
	"print":    {printing(fmt.Sprint), escaping(1)},
	"println":  {printing(fmt.Sprintln), escaping(1)},
	"html":     {printing(template.HTMLEscaper), escaping(5)},
	"js":       {printing(template.JSEscaper), escaping(6)},
	"urlquery": {printing(template.URLQueryEscaper), escaping(3)},
	"printf":   {printf, printfMost},
	"eq":       {equalsAny, makesNothing},
	"ne":       {differs, makesNothing},
	"lt":       {ordered(func(order int) bool { return order < 0 }), makesNothing},
	"le":       {ordered(func(order int) bool { return order <= 0 }), makesNothing},
	"gt":       {ordered(func(order int) bool { return order > 0 }), makesNothing},
	"ge":       {ordered(func(order int) bool { return order >= 0 }), makesNothing},
}

// templateBuiltins lists the functions of text/template that templates call unchanged: they copy no bytes and take the
// same time however long their arguments are. Functions in neither list are not defined.
var templateBuiltins = []string{"and", "or", "not", "len", "index", "slice"}

var (
	errStringWanted = errors.New("must have one argument, a string")
	errTwoWanted    = errors.New("must have two arguments")
	errComparison   = errors.New("only strings, integers, decimal numbers and booleans can be compared, and only with the same kind")
)

func onString(f func(string) (string, error)) func([]any) (any, error) {
	return func(args []any) (any, error) {
		if len(args) != 1 {
			return nil, errStringWanted
		}
		s, ok := args[0].(string)
		if !ok {
			return nil, errStringWanted
		}
		return f(s)
	}
}

func pure(f func(string) string) func(string) (string, error) {
	return func(s string) (string, error) { return f(s), nil }
}

func printing(f func(...any) string) func([]any) (any, error) {
	return func(args []any) (any, error) { return f(args...), nil }
}

// escaping returns the upper bound for a function that produces at most factor bytes for each byte of its arguments.
func escaping(factor int) func([]any) int {
	return func(args []any) int {
		n := 0
		for _, arg := range args {
			n += factor * (printed(arg) + 1)
		}
		return n
	}
}

func makesNothing([]any) int { return 0 }

// quote returns a JSON string, which is also a valid YAML string.
func quote(s string) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(s)
	return strings.TrimSuffix(out.String(), "\n"), err
}

func base64Encode(s string) (string, error) {
	return base64.StdEncoding.EncodeToString([]byte(s)), nil
}

// join returns the strings of its second argument, separated by the first.
func join(args []any) (any, error) {
	separator, list, ok := joined(args)
	if !ok {
		return nil, errors.New("must have a separator and a list of strings, as in join \",\" .Scopes")
	}
	return strings.Join(list, separator), nil
}

func joinMost(args []any) int {
	separator, list, _ := joined(args)
	return length(list) + len(list)*len(separator)
}

func joined(args []any) (separator string, list []string, ok bool) {
	if len(args) != 2 {
		return "", nil, false
	}
	separator, isString := args[0].(string)
	list, isList := args[1].([]string)
	return separator, list, isString && isList
}

func printf(args []any) (any, error) {
	if len(args) > 0 {
		if format, ok := args[0].(string); ok {
			return fmt.Sprintf(format, args[1:]...), nil
		}
	}
	return nil, errors.New("the first argument must be a format string")
}

const (
	// maxPrintfWidth is the greatest width and precision that package fmt reads from a format: it checks whether a
	// number is greater than a million before it reads the next digit.
	maxPrintfWidth = 10_000_009
	// printfNote is an upper bound of what fmt adds to a value that does not fit its verb, such as %!d(string=...), and
	// to a value in Go syntax.
	printfNote = 64
	// printfEscape is the greatest number of bytes that %q and "% #x" produce for one byte.
	printfEscape = 6
)

// printfMost returns an upper bound of what a format can produce from its arguments. It does not interpret verbs: it
// assumes that every directive prints the widest argument, padded by all numbers in the directive, once for each string
// in the argument, and that fmt appends the arguments that no directive uses.
func printfMost(args []any) int {
	if len(args) == 0 {
		return 0
	}
	format, _ := args[0].(string)
	widest, parts, star, most := 0, 1, 0, len(format)
	for _, arg := range args[1:] {
		width, n := 0, 0
		if n = eachString(arg, func(s string) { width += printfEscape*len(s) + printfNote }); n == 0 {
			width, star = printedNumber, max(star, starOf(arg))
		}
		widest, parts, most = max(widest, width), max(parts, n), most+width+printfNote
	}
	for i := strings.IndexByte(format, '%'); i >= 0 && i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		padding, end := directivePadding(format, i+1, star)
		most += widest + printfNote + padding*parts
		i = end - 1
	}
	return most
}

// starOf returns the width that a value specifies if a * in the format takes it.
func starOf(value any) int {
	width := maxPrintfWidth
	switch n := value.(type) {
	case int:
		width = max(n, -n)
	case uint8:
		width = int(n)
	case int32:
		width = int(max(n, -n))
	}
	if width < 0 || width > maxPrintfWidth {
		return 0 // fmt rejects it
	}
	return width
}

// directivePadding returns the sum of the numbers between a % and its verb, with star for each *, and the position at
// which they end.
func directivePadding(format string, start, star int) (padding, end int) {
	number := 0
	for end = start; end < len(format); end++ {
		switch c := format[end]; {
		case '0' <= c && c <= '9':
			number = min(10*number+int(c-'0'), maxPrintfWidth)
			continue
		case c == '*':
			padding += star
		case strings.IndexByte("+-# .[]", c) < 0:
			return padding + number, end
		}
		padding, number = padding+number, 0
	}
	return padding + number, end
}

// equalsAny reports whether the first argument equals any other.
func equalsAny(args []any) (any, error) {
	if len(args) < 2 {
		return nil, errors.New("must have two or more arguments")
	}
	for _, arg := range args[1:] {
		if equal, err := equals(args[0], arg); equal || err != nil {
			return equal, err
		}
	}
	return false, nil
}

// differs reports whether two values are not equal.
func differs(args []any) (any, error) {
	if len(args) != 2 {
		return nil, errTwoWanted
	}
	equal, err := equals(args[0], args[1])
	return !equal && err == nil, err
}

func equals(a, b any) (bool, error) {
	if a == nil || b == nil {
		return a == nil && b == nil, nil
	}
	if x, ok := a.(bool); ok {
		if y, ok := b.(bool); ok {
			return x == y, nil
		}
	}
	order, err := compare(a, b)
	return order == 0 && err == nil, err
}

// ordered returns the function that compares two values and reports whether holds is true of their order.
func ordered(holds func(order int) bool) func([]any) (any, error) {
	return func(args []any) (any, error) {
		if len(args) != 2 {
			return nil, errTwoWanted
		}
		order, err := compare(args[0], args[1])
		return err == nil && holds(order), err
	}
}

// compare returns the order of two strings, two whole numbers or two decimal numbers: -1, 0 or 1.
func compare(a, b any) (int, error) {
	switch x := widened(a).(type) {
	case string:
		if y, ok := b.(string); ok {
			return cmp.Compare(x, y), nil
		}
	case int64:
		if y, ok := widened(b).(int64); ok {
			return cmp.Compare(x, y), nil
		}
	case float64:
		if y, ok := b.(float64); ok {
			return cmp.Compare(x, y), nil
		}
	}
	return 0, errComparison
}

// widened returns an integer as an int64, and any other value unchanged.
func widened(value any) any {
	switch n := value.(type) {
	case int:
		return int64(n)
	case int32:
		return int64(n)
	case uint8:
		return int64(n)
	}
	return value
}
