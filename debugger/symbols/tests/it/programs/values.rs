//! A value of every library type that the debugger knows, at a stop.
#![allow(dead_code, unused)]
use std::cell::*; use std::collections::*; use std::rc::*; use std::sync::*; use std::sync::atomic::*; use std::time::*;
use std::ffi::*; use std::path::*; use std::num::*; use std::marker::PhantomData; use std::pin::Pin; use std::future::Future;
trait Shape { fn area(&self) -> f64; }
struct Square { side: f64 }
impl Shape for Square { fn area(&self) -> f64 { self.side * self.side } }
struct Unit;
struct Pair(u8, char);
#[derive(Clone)] enum Message { Quit, Move { x: i32, y: i32 }, Write(String), Many(u8, u16) }
enum Nested { A(Option<Box<u32>>), B(Option<bool>), C }
struct Node { name: &'static str, next: RefCell<Option<Rc<Node>>> }
thread_local! { static LOCAL: Cell<u32> = const { Cell::new(7) }; }
static GLOBAL: AtomicUsize = AtomicUsize::new(11);
async fn leaf(n: u32) -> u32 { std::future::ready(n).await; std::future::pending::<()>().await; n }
async fn outer(text: String) -> u32 { let n = text.len() as u32; leaf(n).await + 1 }
#[inline(never)] fn stop<T>(_: &T) { std::process::abort() }
fn main() {
    let vec = vec![1, 2, 3]; let empty: Vec<u64> = Vec::new();
    let strings = vec!["a".to_string(), "bc".to_string()];
    let text = "hello".to_string(); let slice = &vec[1..]; let str_slice = &text[..2]; let array = [[1u8, 2], [3, 4]];
    let os = OsString::from("os"); let path = PathBuf::from("/tmp/x"); let path_ref = path.as_path(); let c = CString::new("c string").unwrap(); let c_ref = c.as_c_str();
    let mut deque: VecDeque<i32> = VecDeque::with_capacity(4); for i in 0..4 { deque.push_back(i); } deque.pop_front(); deque.pop_front(); deque.push_back(4);
    let map: HashMap<String, i32> = [("one".to_string(), 1), ("two".to_string(), 2)].into_iter().collect();
    let set: HashSet<u16> = [5].into_iter().collect();
    let big: BTreeMap<u32, String> = (0..40).map(|n| (n, format!("v{n}"))).collect(); let bset: BTreeSet<char> = "cab".chars().collect(); let no_tree: BTreeMap<u8, u8> = BTreeMap::new();
    let heap: BinaryHeap<i32> = [1, 5].into_iter().collect(); let linked: LinkedList<u8> = [1, 2, 3].into_iter().collect();
    let boxed = Box::new(5u8); let dynamic: Box<dyn Shape> = Box::new(Square { side: 2.5 }); let dyn_ref: &dyn Shape = &*dynamic; let boxed_slice: Box<[u16]> = vec![1, 2].into(); let boxed_str: Box<str> = "bs".into();
    let rc = Rc::new(41); let rc2 = rc.clone(); let weak = Rc::downgrade(&rc); let gone: Weak2<u8> = { let x = Rc::new(1u8); Rc::downgrade(&x) };
    let arc = Arc::new(Message::Move { x: 1, y: -2 }); let arc_str: Arc<str> = "shared".into(); let rc_dyn: Rc<dyn Shape> = Rc::new(Square { side: 1.0 });
    let cell = Cell::new(3); let refcell = RefCell::new("r".to_string()); let borrowed = RefCell::new(9); let b = borrowed.borrow();
    let mutex = Mutex::new(vec![1]); let locked = Mutex::new(2); let guard = locked.lock().unwrap(); let rw = RwLock::new(4u8); let once: OnceLock<u8> = OnceLock::new(); let once_set = OnceCell::from(6); let _ = once;
    let once2: OnceLock<u8> = OnceLock::new(); let lazy = LazyLock::new(|| 5u8);
    let atomic = AtomicU32::new(8); let flag = AtomicBool::new(true);
    let dur = Duration::from_millis(1500); let inst = Instant::now(); let sys = UNIX_EPOCH + Duration::from_secs(86400 * 365);
    let ch = 'é'; let wide = u128::MAX; let neg = i128::MIN; let tuple = (1, "two", 3.5f32); let unit = (); let k = 10; let closure = move |x: i32| x + k; let reference = &tuple;
    let nz = NonZeroU8::new(4).unwrap(); let onz = NonZeroU8::new(0); let ph: PhantomData<u8> = PhantomData; let uni = Unit; let pair = Pair(1, 'z');
    let some = Some(5); let none: Option<u32> = None; let some_box = Some(Box::new(3)); let no_box: Option<Box<i32>> = None; let ok: Result<u8, String> = Ok(3); let err: Result<u8, String> = Err("bad".into());
    let messages = [Message::Quit, Message::Move { x: 1, y: 2 }, Message::Write("hi".into()), Message::Many(1, 2)]; let nested = [Nested::A(None), Nested::B(Some(true)), Nested::C, Nested::A(Some(Box::new(2)))];
    let a = Rc::new(Node { name: "a", next: RefCell::new(None) }); let cyc = Rc::new(Node { name: "b", next: RefCell::new(Some(a.clone())) }); *a.next.borrow_mut() = Some(cyc.clone());
    let mut fut = Box::pin(outer("four".into())); let waker = std::task::Waker::noop(); let mut cx = std::task::Context::from_waker(waker); let _ = fut.as_mut().poll(&mut cx); let fresh = outer("x".into());
    let range = 2..7; let range_inc = 1..=3; let func: fn(i32) -> i32 = double; let many: Vec<u32> = (0..1000).collect(); let zeros = [0u8; 64]; let wrapping = Wrapping(5u8); let ord = std::cmp::Ordering::Less;
    let cow: std::borrow::Cow<str> = "cow".into(); let opt_str: Option<&str> = Some("s"); let opt_string: Option<String> = None; let mapmap: HashMap<u8, Vec<u8>> = [(1, vec![2, 3])].into_iter().collect();
    LOCAL.with(|l| l.set(8)); GLOBAL.fetch_add(1, Ordering::SeqCst);
    stop(&(&rc2, &b, &guard));
}
type Weak2<T> = std::rc::Weak<T>;
fn double(n: i32) -> i32 { n * 2 }
