//! The temporary tables of a refresh: made while it computes, gone when it is over. They are the session's own and spill
//! to disk when memory is short.
//!
//! Tables that are published together are computed one after the other and published at the end, so each has a scope:
//! the same name means another temporary table in another scope.

use error::Result;

use crate::tables::DynamicTables;

/// The temporary tables of all scopes.
#[derive(Debug, Default)]
pub(crate) struct Temporaries {
    /// The scope that names are looked up in.
    scope: usize,
    /// What there is, with its scope, views before the tables that they read.
    made: Vec<(usize, Made)>,
}

#[derive(Debug)]
enum Made {
    Table(String),
    View(String),
}

impl DynamicTables {
    /// From now on names mean the temporary tables of this scope.
    pub(crate) fn enter_scope(&self, scope: usize) {
        self.temporaries.borrow_mut().scope = scope;
    }

    /// The present scope.
    pub(crate) fn scope(&self) -> usize {
        self.temporaries.borrow().scope
    }

    /// What a temporary table or view of the present scope is really called.
    pub(crate) fn scoped(&self, name: &str) -> String {
        match self.temporaries.borrow().scope {
            0 => name.to_owned(),
            scope => format!("{name}_{scope}"),
        }
    }

    /// The same as a relation of a query.
    pub(crate) fn relation(&self, name: &str) -> String {
        format!("temp.main.{}", self.scoped(name))
    }

    /// Keeps the rows of a SELECT in a temporary table of the present scope. How many there are.
    pub(crate) fn keep(&self, name: &str, select: &str) -> Result<u64> {
        let table = self.scoped(name);
        self.remember(Made::Table(table.clone()));
        let sql = format!("CREATE OR REPLACE TEMP TABLE {table} AS {select}");
        self.follow(&sql);
        self.session.create_as(&sql)
    }

    /// Gives a SELECT over temporary tables a name in the present scope.
    pub(crate) fn name(&self, name: &str, select: &str) -> Result<()> {
        let view = self.scoped(name);
        self.remember(Made::View(view.clone()));
        self.work(&format!("CREATE OR REPLACE TEMP VIEW {view} AS {select}")).map(|_| ())
    }

    fn remember(&self, made: Made) {
        let temporaries = &mut *self.temporaries.borrow_mut();
        let position = if matches!(made, Made::View(_)) { 0 } else { temporaries.made.len() };
        temporaries.made.insert(position, (temporaries.scope, made));
    }

    /// Runs a statement that works on temporary tables only.
    pub(crate) fn work(&self, sql: &str) -> Result<u64> {
        self.follow(sql);
        self.session.execute(sql)
    }

    /// Shows a statement to whoever follows what is done.
    fn follow(&self, sql: &str) {
        if let Some(trace) = self.trace.borrow_mut().as_mut() {
            trace.push(sql.to_owned());
        }
    }

    /// The one row of a SELECT with `N` columns that are all BIGINT.
    pub(crate) fn counts<const N: usize>(&self, select: &str) -> Result<[u64; N]> {
        let mut counts = self.session.counts(select)?.into_iter();
        Ok(std::array::from_fn(|_| counts.next().unwrap_or_default()))
    }

    /// Drops the temporary tables of the present scope, so that their memory and disk are free again.
    pub(crate) fn forget_temporaries(&self) -> Result<()> {
        let scope = self.temporaries.borrow().scope;
        self.forget_where(|of| of == scope)
    }

    /// Drops the temporary tables of all scopes and goes back to the first.
    pub(crate) fn forget_all_temporaries(&self) -> Result<()> {
        self.enter_scope(0);
        self.forget_where(|_| true)
    }

    fn forget_where(&self, forget: impl Fn(usize) -> bool) -> Result<()> {
        let made = std::mem::take(&mut self.temporaries.borrow_mut().made);
        let (gone, kept): (Vec<_>, Vec<_>) = made.into_iter().partition(|(scope, _)| forget(*scope));
        self.temporaries.borrow_mut().made = kept;
        if gone.is_empty() {
            return Ok(());
        }
        let drops: Vec<String> = gone
            .into_iter()
            .map(|(_, made)| match made {
                Made::Table(name) => format!("DROP TABLE IF EXISTS temp.main.{name}"),
                Made::View(name) => format!("DROP VIEW IF EXISTS temp.main.{name}"),
            })
            .collect();
        self.session.execute(&drops.join("; ")).map(|_| ())
    }
}
