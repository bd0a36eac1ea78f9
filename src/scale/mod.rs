//! Many machines: gateways that hold the channels, workers that hold the model, and what they agree on.
//!
//! ```text
//! shopper ─▶ gateway ─want─▶ pool ◀─join, tell, beat─ worker
//!                │            │                          ▲
//!                └─ keeper ◀──┘ (one of the gateways) ───┘ wake
//! ```
//!
//! The pool is a record in Redis: where the model is, which run is under way, who leads it. The first intent begins a
//! run; one of the gateways, the keeper, sees to it that as many machines are awake as are wanted; a worker that comes
//! up takes the lead and tells what it does, until one is ready. Whoever dies is missed within seconds, and what it
//! led is taken over.

mod board;
mod budget;
mod demand;
mod history;
mod keeper;
mod member;
mod pool;
#[cfg(test)]
mod tests;
mod wake_command;
mod wake_http;

pub use board::Board;
pub use budget::Budget;
pub use demand::{BudgetLeft, Demand, Demands, Sizing};
pub use history::SharedHistory;
pub use keeper::{Elsewhere, Heard, Keeper, Means};
pub use member::{Life, Member};
pub use pool::SharedPool;
pub use wake_command::CommandWakes;
pub use wake_http::{HttpWakes, WakeAuth};
