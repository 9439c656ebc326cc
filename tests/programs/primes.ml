(* Allocates, so that its collector runs, and catches exceptions. *)
exception Composite of int

let check n =
  let rec go k = if k * k > n then () else if n mod k = 0 then raise (Composite k) else go (k + 1) in
  try go 2; true with Composite _ -> false

let () =
  let numbers = List.init 2000000 (fun n -> n + 2) in
  let primes = List.filter check numbers in
  let texts = List.map string_of_int primes in
  Printf.printf "%d %d\n" (List.length primes) (String.length (String.concat "," texts))
